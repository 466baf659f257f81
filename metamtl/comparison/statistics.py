"""Intervals over seeds and over episodes, tests of pairs, and the correction for many of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metamtl.comparison.student import t_quantile, two_sided_p

Figures = NDArray[np.float64]
LEVEL = 0.05  # below it a corrected p is called a difference
_ROUNDING = 1e-6  # of the largest figure; float32 keeps 6e-8
_LEAST_SIGNED_RANKS = 10  # with fewer the normal approximation is no approximation


@dataclass(frozen=True)
class PairedTest:
    """A group against a baseline on the same episodes.

    `difference` is the mean of group minus baseline over `pairs` episodes, [`low`, `high`] its 95% t interval. `p_t` is
    of the paired t test, `p_wilcoxon` of the signed-rank test, both two-sided; `..._holm` are corrected for all tests
    made with it. NaN where a test says nothing: fewer than two pairs, fewer than ten that differ for Wilcoxon's.
    """

    difference: float
    low: float
    high: float
    pairs: int
    p_t: float
    p_wilcoxon: float
    p_t_holm: float = math.nan
    p_wilcoxon_holm: float = math.nan


def over_seeds(means: Sequence[float]) -> float:
    """Half width of the 95% t interval of the mean of one figure a seed; NaN for fewer than two."""
    return _half_width(np.asarray(means, dtype=np.float64))


def over_episodes(figures: Figures) -> float:
    """Half width 1.96 sd / sqrt(n) of the mean of `figures` [n], as in result.json; NaN for fewer than two."""
    if figures.size < 2:
        return math.nan
    return 1.96 * float(figures.std(ddof=1)) / math.sqrt(figures.size)


def paired_test(figures: Figures, baseline: Figures) -> PairedTest:
    """Tests `figures` [n] against `baseline` [n], episode by episode; raises ValueError for other shapes.

    Differences as small as a rounding are none. A figure that is NaN makes every number NaN: an episode that gave none
    cannot be paired.
    """
    if figures.shape != baseline.shape or figures.ndim != 1:
        raise ValueError(f"expected two rows of one length, got {figures.shape} and {baseline.shape}")
    differences = figures - baseline
    rounding = _ROUNDING * float(np.abs([figures, baseline]).max(initial=0.0))
    differences[np.abs(differences) <= rounding] = 0.0
    mean = float(differences.mean()) if differences.size else math.nan
    half = _half_width(differences)
    return PairedTest(
        difference=mean,
        low=mean - half,
        high=mean + half,
        pairs=differences.size,
        p_t=paired_t_p(differences),
        # What is equal but for rounding is made to tie: float32 has rounded the shares of 75 queries.
        p_wilcoxon=signed_rank_p(np.round(differences / rounding) if rounding else differences),
    )


def paired_t_p(differences: Figures) -> float:
    """Two-sided p of the paired t test: mean / (sd / sqrt(n)) under Student's t with n - 1 degrees of freedom.

    1 where all differences are zero, 0 where all are one other number; NaN for fewer than two.
    """
    if differences.size < 2 or np.isnan(differences).any():
        return math.nan
    mean, error = float(differences.mean()), float(differences.std(ddof=1)) / math.sqrt(differences.size)
    if error == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    return two_sided_p(mean / error, differences.size - 1)


def signed_rank_p(differences: Figures) -> float:
    """Two-sided p of the signed-rank test (Wilcoxon 1945), normal approximation without continuity correction.

    Zeros are left out, as Wilcoxon did; ties share their mean rank, and the variance is corrected for them. NaN where
    fewer than ten differences are not zero.
    """
    if np.isnan(differences).any():
        return math.nan
    moved = differences[differences != 0.0]
    n = moved.size
    if n < _LEAST_SIGNED_RANKS:
        return math.nan
    _, places, counts = np.unique(np.abs(moved), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    statistic = float(ranks[moved > 0].sum())
    ties = counts.astype(np.float64)
    variance = n * (n + 1) * (2 * n + 1) / 24 - float((ties**3 - ties).sum()) / 48
    z = (statistic - n * (n + 1) / 4) / math.sqrt(variance)
    return math.erfc(abs(z) / math.sqrt(2))


def holm(ps: Sequence[float]) -> list[float]:
    """The p values corrected for being many (Holm 1979), in their order; NaN stays, and counts as no test.

    The i-th smallest of m is multiplied by m - i + 1, and none is below a smaller one's.
    """
    corrected = [math.nan] * len(ps)
    told = sorted((place for place, p in enumerate(ps) if not math.isnan(p)), key=lambda place: ps[place])
    largest = 0.0
    for rank, place in enumerate(told):
        largest = max(largest, min(1.0, (len(told) - rank) * ps[place]))
        corrected[place] = largest
    return corrected


def _half_width(figures: Figures) -> float:
    """Of the 95% t interval of the mean of `figures` [n]; NaN for fewer than two."""
    if figures.size < 2 or np.isnan(figures).any():
        return math.nan
    return t_quantile(0.95, figures.size - 1) * float(figures.std(ddof=1)) / math.sqrt(figures.size)
