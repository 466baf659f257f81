"""Figures of a whole split that are ratios of sums, as F1 over entities or intersection over union, with intervals.

A ratio R = sum a / sum b is given as one number for each example, R + (a_i - R b_i) / mean b: their mean is R, and the
deviation of that mean is the one of R to first order (the delta method, which is the infinitesimal jackknife; Efron
1982, The Jackknife, the Bootstrap and Other Resampling Plans, chapter 6). So intervals, paired tests and comparisons
of runs treat them as they do figures that are means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from metamtl.data.family import Ratio

Figures = dict[str, NDArray[np.float64]]


def with_ratios(figures: Figures, ratios: Mapping[str, Sequence[Ratio]]) -> Figures:
    """`figures` [n] with each of `ratios` in place of the counts that it is made of.

    A figure is the mean of its ratios, less those of nothing by nothing (a class that no example has and none is taken
    for) where `Ratio.else_nought` does not say otherwise. Where there is none, what `figures` has under its name stays.
    """
    counts = {name for each in ratios.values() for ratio in each for name in (*ratio.over, *ratio.under)}
    found = {name: values for name, values in figures.items() if name not in counts}
    for name, each in ratios.items():
        parts = [part for ratio in each if (part := _part(figures, ratio)) is not None]
        if parts:
            found[name] = np.mean(parts, axis=0)
    return found


def _part(figures: Figures, ratio: Ratio) -> NDArray[np.float64] | None:
    """A ratio's number [n] for each example; None where it does not count."""
    under = _sum(figures, ratio.under)
    if under.any():
        return linearised(_sum(figures, ratio.over), under)
    return np.zeros_like(under) if any(figures[name].any() for name in ratio.else_nought) else None


def linearised(over: NDArray[np.float64], under: NDArray[np.float64]) -> NDArray[np.float64]:
    """One number [n] for each example whose mean is sum(over) / sum(under)."""
    ratio = over.sum() / under.sum()
    return np.asarray(ratio + (over - ratio * under) / under.mean())


def _sum(figures: Figures, factors: Mapping[str, float]) -> NDArray[np.float64]:
    return np.asarray(sum(factor * figures[name] for name, factor in factors.items()))
