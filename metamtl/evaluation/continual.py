"""What a matrix of accuracies says about learning in sequence.

`matrix` [T + 1, T] holds in row i the accuracy on each of T tasks after task i was learnt, row 0 before any was. ACC,
BWT and FWT are equations 2 to 4 of Lopez-Paz & Ranzato (2017), Gradient Episodic Memory for Continual Learning,
NeurIPS, FWT against the untrained network of row 0; forgetting is equation 3 of Chaudhry, Dokania, Ajanthan & Torr
(2018), Riemannian Walk for Incremental Learning, ECCV.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Figures = NDArray[np.float64]
Names = NDArray[np.int64]


def sequence_figures(matrix: Matrix, interval: float) -> dict[str, Any]:
    """ACC with the half width of its `interval`, BWT, FWT, forgetting and each task's own; None with one task."""
    return {
        "acc": {"mean": float(matrix[-1].mean()), "ci95": interval},
        "bwt": backward(matrix),
        "fwt": forward(matrix),
        "forgetting": None if len(matrix) < 3 else float(np.mean(forgotten(matrix))),
        "forgetting_by_task": forgotten(matrix),
        "matrix": matrix.tolist(),
    }


def acc_interval(figures: Sequence[Figures], examples: Sequence[Names]) -> float:
    """Half the 95% interval of ACC from each task's test figures [n]; those of a missing label are NaN and left out.

    `examples` [n] name what each figure is of. Tasks may be tested on the same pictures, changed (permuted pixels):
    their errors go together, so that the deviations of a picture are added up before they are squared (the clusters of
    Liang & Zeger 1986, Longitudinal data analysis using generalized linear models, Biometrika 73). Where no picture is
    shared this is the interval of means that are independent.
    """
    tasks = len(figures)
    known = [~np.isnan(own) for own in figures]
    parts = [_deviations(own[there]) / tasks for own, there in zip(figures, known, strict=True)]
    names = [own[there] for own, there in zip(examples, known, strict=True)]
    return _half_width(np.concatenate(parts), np.concatenate(names))


def mean_interval(figures: Figures, examples: Names) -> float:
    """The same of the mean of all figures [n], one count each."""
    known = ~np.isnan(figures)
    return _half_width(_deviations(figures[known]), examples[known])


def _deviations(figures: Figures) -> Figures:
    """What each figure [n] adds to the deviation of their mean; the sum of squares is that mean's variance."""
    count = len(figures)
    scale = math.sqrt(count / (count - 1)) if count > 1 else math.nan
    found: Figures = (figures - figures.mean()) / count * scale
    return found


def _half_width(deviations: Figures, names: Names) -> float:
    _, places = np.unique(names, return_inverse=True)
    return 1.96 * float(np.sqrt(np.square(np.bincount(places, weights=deviations)).sum()))


def backward(matrix: Matrix) -> float | None:
    """BWT: the mean change of a task's accuracy from when it was learnt to the end; the last task has none."""
    tasks = matrix.shape[1]
    if tasks < 2:
        return None
    learnt = np.diagonal(matrix[1:])[:-1]
    return float((matrix[-1, :-1] - learnt).mean())


def forward(matrix: Matrix) -> float | None:
    """FWT: how much better than an untrained network a task is met just before it is learnt; the first has none."""
    tasks = matrix.shape[1]
    if tasks < 2:
        return None
    met = np.array([matrix[task, task] for task in range(1, tasks)])
    return float((met - matrix[0, 1:]).mean())


def forgotten(matrix: Matrix) -> list[float]:
    """For each task but the last, its best accuracy once it was learnt and before the end, less that at the end."""
    tasks = matrix.shape[1]
    return [float(matrix[task + 1 : -1, task].max() - matrix[-1, task]) for task in range(tasks - 1)]
