"""Figures of a split that are ratios of sums, and their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from metamtl.data.family import Ratio
from metamtl.evaluation.ratios import linearised, with_ratios
from metamtl.runs.result import summary


def test_the_interval_is_the_bootstrap_s() -> None:
    """Counts of sentences with many entities weigh more: a mean over sentences is another figure."""
    draw = np.random.default_rng(0)
    there = draw.poisson(3.0, 600).astype(float)
    right = draw.binomial(there.astype(int), draw.beta(4, 2, 600)).astype(float)
    found = summary(linearised(right, there))
    samples = draw.integers(0, 600, (4000, 600))
    ratios = right[samples].sum(1) / there[samples].sum(1)
    assert found["mean"] == pytest.approx(right.sum() / there.sum(), rel=1e-12)
    assert found["ci95"] == pytest.approx(1.96 * ratios.std(), rel=0.05)
    assert abs(found["mean"] - np.mean(right[there > 0] / there[there > 0])) > 1e-3


def test_differences_of_pairs_are_those_of_the_ratios() -> None:
    draw = np.random.default_rng(1)
    under, one, two = (draw.integers(1, 5, 50).astype(float) for _ in range(3))
    change = (linearised(one, under) - linearised(two, under)).mean()
    assert change == pytest.approx(one.sum() / under.sum() - two.sum() / under.sum(), rel=1e-12)


def test_counts_make_way_for_their_ratios() -> None:
    figures = {name: np.array(values, dtype=float) for name, values in {
        "loss": [1, 2], "right/a": [1, 1], "there/a": [2, 2], "right/b": [3, 0], "there/b": [3, 1],
        "right/c": [0, 0], "there/c": [0, 0],
    }.items()}  # fmt: skip
    ratios: dict[str, Sequence[Ratio]] = {
        f"recall/{one}": [Ratio({f"right/{one}": 1}, {f"there/{one}": 1})] for one in "abc"
    }
    ratios["recall"] = [each[0] for each in ratios.values()]
    found = with_ratios(figures, ratios)
    assert found.keys() == {"loss", "recall", "recall/a", "recall/b"}  # of c there is none to recall
    assert found["recall/a"].mean() == 0.5 and found["recall/b"].mean() == pytest.approx(0.75)
    assert found["recall"].mean() == pytest.approx(0.625)  # the mean of the two
    assert list(found["loss"]) == [1, 2]
