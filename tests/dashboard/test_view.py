"""A view and its link."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamtl.dashboard.view import PAGES, View

TEXT = st.text(max_size=30)
IDENTITIES = st.lists(st.text("0123456789abcdef", min_size=1, max_size=12), max_size=3).map(tuple)


@given(
    page=st.sampled_from(list(PAGES)), where=TEXT, metric=TEXT, run=TEXT, groups=IDENTITIES, start=st.integers(0, 999)
)
def test_a_link_says_all_of_a_view(
    page: str, where: str, metric: str, run: str, groups: tuple[str, ...], start: int
) -> None:
    view = View(page=page, where=where, metric=metric, run=run, groups=groups, start=start, smooth="0.9", x="time")
    assert View.of(view.link()) == view
    assert View.of(f"http://127.0.0.1:8050{view.link()}") == view


def test_the_default_view_is_a_plain_link() -> None:
    assert View().link() == "/runs"
    assert View.of("/") == View.of("") == View()


@pytest.mark.parametrize(
    "address",
    ["/runs?start=-5&smooth=nan&x=..&rows=", "/runs?" + "&".join(f"a{n}=1" for n in range(99)), "/runs?;&=&&%"],
)
def test_what_cannot_be_read_is_the_default(address: str) -> None:
    assert View.of(address) == View()


def test_another_order_begins_at_the_first_row() -> None:
    assert View(start=100).to(sort="-figure") == View(sort="-figure")


def test_the_choices_beside_the_filter_are_those_of_the_link() -> None:
    assert View("curves", where="a=1", smooth="0.9").without_where() == {"smooth": "0.9"}
