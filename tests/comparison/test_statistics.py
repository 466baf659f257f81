"""Intervals, paired tests and Holm's correction: known values, invariants, and how often they err."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from metamtl.comparison.statistics import (
    holm,
    over_episodes,
    over_seeds,
    paired_t_p,
    paired_test,
    signed_rank_p,
)
from metamtl.runs.result import summary

Figures = NDArray[np.float64]
# differences of shares of 75, so that zeros and ties are many
differences = st.lists(st.integers(-75, 75), min_size=2, max_size=60).map(lambda drawn: np.array(drawn) / 75)
ps = st.lists(st.floats(0.0, 1.0), max_size=12)


def test_the_interval_over_episodes_is_that_of_the_result() -> None:
    values = np.random.default_rng(0).random(50)
    assert over_episodes(values) == summary(values)["ci95"]
    assert math.isnan(over_episodes(values[:1]))


def test_the_interval_over_seeds_is_students() -> None:
    # sd 1 and n 3: 4.3027 / sqrt(3)
    assert over_seeds([1.0, 2.0, 3.0]) == pytest.approx(2.48414, abs=1e-5)
    assert math.isnan(over_seeds([1.0]))
    assert math.isnan(over_seeds([1.0, math.nan]))


def test_a_paired_t_test_worked_by_hand() -> None:
    # differences 1, 2, 3: mean 2, sd 1, t = 2 sqrt(3), and for 2 degrees p = 1 - t / sqrt(2 + t^2)
    found = paired_test(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    t = 2 * math.sqrt(3)
    assert found.p_t == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert (found.difference, found.pairs) == (2.0, 3)
    assert (found.low, found.high) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-5)
    assert math.isnan(found.p_wilcoxon)  # too few for the normal approximation


def test_signed_ranks_worked_by_hand() -> None:
    # 1 .. 10 without ties, 1 and 2 negative: ranks above zero sum to 52, mean 27.5, variance 10 * 11 * 21 / 24
    values = np.array([-1.0, -2.0, 3, 4, 5, 6, 7, 8, 9, 10])
    z = (52 - 27.5) / math.sqrt(10 * 11 * 21 / 24)
    assert signed_rank_p(values) == pytest.approx(math.erfc(z / math.sqrt(2)))
    assert signed_rank_p(np.concatenate([values, np.zeros(5)])) == signed_rank_p(values)  # zeros are left out
    # ten of one size share rank 5.5, and the variance loses (10^3 - 10) / 48
    z = (9 * 5.5 - 27.5) / math.sqrt(10 * 11 * 21 / 24 - 990 / 48)
    assert signed_rank_p(np.array([1.0] * 9 + [-1.0])) == pytest.approx(math.erfc(z / math.sqrt(2)))


def test_what_has_no_answer_is_nan_and_what_is_plain_is_said() -> None:
    assert paired_t_p(np.zeros(20)) == 1.0
    assert paired_t_p(np.full(20, 0.5)) == 0.0
    assert math.isnan(paired_t_p(np.ones(1)))
    assert math.isnan(signed_rank_p(np.zeros(20)))
    broken = paired_test(np.array([1.0, math.nan, 2.0] * 5), np.zeros(15))
    assert all(map(math.isnan, (broken.difference, broken.low, broken.p_t, broken.p_wilcoxon)))
    with pytest.raises(ValueError, match="one length"):
        paired_test(np.zeros(3), np.zeros(4))


def test_shares_tie_though_float32_has_rounded_them() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.binomial(75, 0.9, 200), rng.binomial(75, 0.88, 200)
    rounded = [(hits.astype(np.float32) / np.float32(75)).astype(np.float64) for hits in (one, other)]
    assert len(np.unique(rounded[0] - rounded[1])) > len(np.unique(one - other))  # they do not tie by themselves
    assert paired_test(*rounded).p_wilcoxon == signed_rank_p((one - other).astype(np.float64))
    # the mean over seeds of the same figures in another order is the same figure
    seeds = np.stack([rounded[0], rounded[1], rounded[0] * 0.5])
    found = paired_test(seeds.mean(axis=0), seeds[::-1].mean(axis=0))
    assert (found.difference, found.p_t) == (0.0, 1.0)
    assert math.isnan(found.p_wilcoxon)


@given(differences)
def test_p_does_not_ask_which_is_the_baseline(values: Figures) -> None:
    one, other = values, np.zeros_like(values)
    there, back = paired_test(one, other), paired_test(other, one)
    np.testing.assert_allclose(
        [there.p_t, there.p_wilcoxon, there.difference, there.low],
        [back.p_t, back.p_wilcoxon, -back.difference, -back.high],
        rtol=1e-9,
        atol=1e-12,
    )


@given(differences)
def test_p_asks_neither_unit_nor_order(values: Figures) -> None:
    for test in (paired_t_p, signed_rank_p):
        p = test(values)
        np.testing.assert_allclose([test(values * 4), test(values[::-1])], [p, p], rtol=1e-6, atol=1e-12)


@given(differences)
def test_the_interval_leaves_out_zero_exactly_when_t_is_significant(values: Figures) -> None:
    found = paired_test(values, np.zeros_like(values))
    if abs(found.p_t - 0.05) > 1e-6:
        assert (found.low > 0 or found.high < 0) == (found.p_t < 0.05)


@given(ps)
def test_holm_keeps_order_and_only_raises(drawn: list[float]) -> None:
    corrected = holm(drawn)
    order = sorted(range(len(drawn)), key=lambda place: drawn[place])
    assert all(corrected[a] <= corrected[b] for a, b in pairwise(order))
    assert all(p <= now <= 1.0 for p, now in zip(drawn, corrected, strict=True))
    assert holm(drawn[::-1]) == corrected[::-1]
    if drawn:
        assert min(corrected) == pytest.approx(min(1.0, len(drawn) * min(drawn)))  # as Bonferroni's for the smallest


def test_holm_worked_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, math.nan, 0.04])[::2] == pytest.approx([0.02, 0.04])  # no test, so it does not count
    assert math.isnan(holm([math.nan])[0])


@pytest.mark.parametrize("test", [paired_t_p, signed_rank_p])
def test_where_there_is_no_difference_one_in_twenty_is_found(test: Callable[[Figures], float]) -> None:
    rng = np.random.default_rng(0)
    found = sum(test((rng.binomial(75, 0.9, 100) - rng.binomial(75, 0.9, 100)) / 75) < 0.05 for _ in range(2000))
    assert 70 <= found <= 130  # 100 expected; the bounds are three standard deviations


def test_scipy_agrees() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is no dependency; it is here where scikit-learn is")
    rng = np.random.default_rng(1)
    one, other = rng.binomial(75, 0.9, 300) / 75, rng.binomial(75, 0.88, 300) / 75
    found = paired_test(one, other)
    assert found.p_t == pytest.approx(stats.ttest_rel(one, other).pvalue, rel=1e-9)
    whole = np.round((one - other) * 75)
    theirs = stats.wilcoxon(whole, zero_method="wilcox", correction=False, method="asymptotic").pvalue
    assert found.p_wilcoxon == pytest.approx(theirs, rel=1e-9)
