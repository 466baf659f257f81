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


def sequence_figures(matrix: Matrix, intervals: Sequence[float]) -> dict[str, Any]:
    """ACC with its interval over test examples, BWT, FWT, forgetting and each task's own; None with one task.

    `intervals` [T] are the half widths of the last row's accuracies, on test examples of each task's own: of tasks that
    change the same pictures (permuted pixels) the interval of ACC is too narrow where their errors go together.
    """
    spread = math.sqrt(sum(half**2 for half in intervals)) / len(intervals)
    return {
        "acc": {"mean": float(matrix[-1].mean()), "ci95": spread},
        "bwt": backward(matrix),
        "fwt": forward(matrix),
        "forgetting": None if len(matrix) < 3 else float(np.mean(forgotten(matrix))),
        "forgetting_by_task": forgotten(matrix),
        "matrix": matrix.tolist(),
    }


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
