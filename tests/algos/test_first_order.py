"""First order builds no second-order graph, whichever learner takes the inner steps.

A second-order graph keeps what each inner step made of the support set; a first-order one may keep slopes and weights
of a step (learned rates need them), which are as large whatever the support set. So the measure is how much more is
kept for each further step, and whether that grows with the support set.
"""

from __future__ import annotations

from typing import Any

import pytest

from metamtl.algos import imaml
from metamtl.engine.plan import How
from tests.algos.kept import most_kept
from tests.algos.suite import EVERY, Blobs, make, names_with, option_of

WITH_ORDER = names_with("order", among=EVERY)
BY_NATURE = ("fomaml", "imaml", "learned_optimizer", "reptile")
# what would meet the support set otherwise: the losses after each step, and batches of a part of it
OPTIONS: dict[str, dict[str, Any]] = {
    "mamlpp": {"multi_step_share": 0.0},
    "reptile": {"inner_batch": 100},
    "learned_optimizer": {"units": 2},
}

both_ways = pytest.mark.parametrize("how", ["loop", "vmap"])


def kept_for_a_step(name: str, how: How, shots: int, **changes: Any) -> float:
    """Bytes that each inner step adds to what is kept, from two steps to six."""
    batch = Blobs((12,)).tasks(1 if how == "loop" else 3, shots=shots)
    options: dict[str, Any] = {"hidden": [16, 16], **OPTIONS.get(option_of(name), {}), **changes}
    # the first step of all tasks has weights that they share
    few, many = (most_kept(make(name, inner_steps=steps, **options), batch) for steps in (2, 6))
    assert few > 0
    return (many - few) / 4


def test_every_learner_with_an_order_is_here() -> None:
    assert {"anil", "boil", "cavia", "maml", "mamlpp", "metacurvature", "metasgd"} <= set(WITH_ORDER)


@both_ways
@pytest.mark.parametrize("name", WITH_ORDER)
def test_first_order_keeps_no_step_of_the_support_set(name: str, how: How) -> None:
    """And second order does, by which the measure is known to tell."""
    first, second = (
        [kept_for_a_step(name, how, shots, order=order) for shots in (4, 8)] for order in ("first", "second")
    )
    assert first[0] == first[1]
    assert second[0] > first[0]
    assert second[1] - second[0] > 20 * 8  # a number for each of the further examples at least


@both_ways
@pytest.mark.parametrize("name", BY_NATURE)
def test_what_is_of_first_order_by_nature_keeps_no_step_of_the_support_set(
    name: str, how: How, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of iMAML all but its products with the Hessian at the solution, which is made once, after the steps."""
    monkeypatch.setattr(imaml, "hessian_product", lambda loss, weights: lambda vector: vector)
    few, many = (kept_for_a_step(name, how, shots) for shots in (4, 8))
    assert few == many
    assert (few == 0) == (name != "learned_optimizer")  # which is differentiated through what its LSTM did
