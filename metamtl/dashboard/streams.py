"""Curves of runs, thin enough to draw: one run's, and the mean of seeds with the band between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metamtl.comparison import cached
from metamtl.comparison.cached import Curve
from metamtl.comparison.record import RunRecord
from metamtl.errors import MetamtlError
from metamtl.runs.folder import RunFolder

Figures = NDArray[np.float64]
MOST_POINTS = 500  # a curve wider than a screen's pixels shows no more


class Band(NamedTuple):
    """The curves of several seeds as one: places, mean, least and greatest [n]."""

    at: Figures
    mean: Figures
    low: Figures
    high: Figures


def curves_of(record: RunRecord) -> dict[str, Curve]:
    """Metric of the stream -> curve of about 500 points; {} where the stream cannot be read."""
    try:
        return cached.curves(RunFolder(record.run).metrics_file, MOST_POINTS)
    except MetamtlError:
        return {}


def smoothed(values: Figures, weight: float) -> Figures:
    """The exponential mean in which the past weighs `weight`, free of the bias of its start; gaps stay gaps."""
    if not weight:
        return values
    found = np.full(values.size, np.nan)
    mean = known = 0.0
    for place, value in enumerate(values):
        if np.isfinite(value):
            mean, known = weight * mean + (1 - weight) * value, weight * known + 1 - weight
            found[place] = mean / known
    return found


def band(curves: Sequence[tuple[Figures, Figures]]) -> Band:
    """The mean over curves (places, values), each within its own range: of a run that is behind nothing is made up."""
    curves = [(at[order], values[order]) for at, values in curves for order in [np.unique(at, return_index=True)[1]]]
    places = np.unique(np.concatenate([at for at, _ in curves]))
    if places.size > MOST_POINTS:  # seeds that were written at other steps: their union is thinned
        places = places[np.unique(np.linspace(0, places.size - 1, MOST_POINTS).astype(int))]
    rows = np.array([np.interp(places, at, values, left=np.nan, right=np.nan) for at, values in curves])
    there = np.isfinite(rows)
    places, rows, there = places[there.any(axis=0)], rows[:, there.any(axis=0)], there[:, there.any(axis=0)]
    mean = np.where(there, rows, 0.0).sum(axis=0) / there.sum(axis=0)
    return Band(places, mean, np.where(there, rows, np.inf).min(axis=0), np.where(there, rows, -np.inf).max(axis=0))
