"""Student's t and the incomplete beta function against closed forms, tables and scipy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamtl.comparison.student import incomplete_beta, t_quantile, two_sided_p

# quantiles of 97.5% and 99.5% as every table prints them
TABLE = {
    1: (12.706, 63.657),
    2: (4.303, 9.925),
    4: (2.776, 4.604),
    10: (2.228, 3.169),
    30: (2.042, 2.750),
    120: (1.980, 2.617),
}
positive = st.floats(0.05, 200)
shares = st.floats(0.001, 0.999)
ts = st.floats(-50, 50)


@pytest.mark.parametrize("freedom", TABLE)
def test_quantiles_are_those_of_the_tables(freedom: int) -> None:
    assert (round(t_quantile(0.95, freedom), 3), round(t_quantile(0.99, freedom), 3)) == TABLE[freedom]


def test_many_degrees_of_freedom_are_the_normal_distribution() -> None:
    assert t_quantile(0.95, 1e6) == pytest.approx(1.959964, abs=1e-5)
    assert two_sided_p(1.0, 1e6) == pytest.approx(math.erfc(1 / math.sqrt(2)), rel=1e-5)


@given(ts)
def test_one_and_two_degrees_of_freedom_have_closed_forms(t: float) -> None:
    # relative to 1: where the closed forms are small they lose their digits, not ours
    assert two_sided_p(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(abs(t)), abs=1e-12)
    assert two_sided_p(t, 2) == pytest.approx(1 - abs(t) / math.sqrt(2 + t * t), abs=1e-12)


@given(ts, ts, positive)
def test_p_falls_with_the_size_of_t_whatever_its_sign(one: float, other: float, freedom: float) -> None:
    near, far = sorted((abs(one), abs(other)))
    assert two_sided_p(near, freedom) == two_sided_p(-near, freedom)
    assert 0.0 <= two_sided_p(far, freedom) <= two_sided_p(near, freedom) * (1 + 1e-12) <= 1.0 + 1e-9


@given(positive, positive, shares)
def test_incomplete_beta_is_its_own_mirror(a: float, b: float, x: float) -> None:
    assert incomplete_beta(a, b, x) == pytest.approx(1 - incomplete_beta(b, a, 1 - x), abs=1e-9)


@given(positive, shares)
def test_incomplete_beta_with_a_one_is_a_power(b: float, x: float) -> None:
    assert incomplete_beta(1.0, b, x) == pytest.approx(1 - (1 - x) ** b, abs=1e-10)
    assert incomplete_beta(b, 1.0, x) == pytest.approx(x**b, abs=1e-10)


def test_ends_are_exact() -> None:
    assert (incomplete_beta(2, 3, 0.0), incomplete_beta(2, 3, 1.0)) == (0.0, 1.0)
    assert (two_sided_p(0.0, 5), two_sided_p(math.inf, 5)) == (1.0, 0.0)
    assert math.isnan(two_sided_p(math.nan, 5))


def test_scipy_agrees() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is no dependency; it is here where scikit-learn is")
    for freedom in (1, 3, 39.5, 999, 99_999):
        for t in (1e-3, 0.5, 2.0, 9.0, 38.0):
            assert two_sided_p(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-9)
        assert t_quantile(0.95, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)
