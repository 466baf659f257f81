"""Convex problems over weights that are not negative and sum to one: few numbers, to high accuracy.

Accelerated projected gradient steps (Beck & Teboulle 2009, A Fast Iterative Shrinkage-Thresholding Algorithm) with
backtracking, and a restart where the momentum leads astray (O'Donoghue & Candes 2015, section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
ITERATIONS = 500
TOLERANCE = 1e-10  # the largest move of a weight that ends it


def minimised(value: Callable[[Vector], float], slope: Callable[[Vector], Vector], count: int) -> Vector:
    """The weights [count] that minimise a convex function, from equal ones, so that what is alike weighs alike."""
    w = ahead = np.full(count, 1 / count)
    momentum, rate = 1.0, 1.0
    for _ in range(ITERATIONS):
        after, rate = _step(value, ahead, slope(ahead), rate)
        if value(after) > value(w):
            if momentum == 1.0:
                break
            ahead, momentum = w, 1.0
            continue
        moved, grown = after - w, (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead, w, momentum = nearest(after + (momentum - 1) / grown * moved), after, grown
        if np.abs(moved).max() < TOLERANCE:
            break
    return w


def _step(value: Callable[[Vector], float], start: Vector, slope: Vector, rate: float) -> tuple[Vector, float]:
    """A projected step, at the first halved rate under which the slope foretells it."""
    while True:
        after = nearest(start - rate * slope)
        move = after - start
        if value(after) <= value(start) + float(slope @ move + move @ move / (2 * rate)) + 1e-15 or rate < 1e-12:
            return after, rate
        rate /= 2


def nearest(point: Vector) -> Vector:
    """The nearest weights that are not negative and sum to one (Duchi et al. 2008, ICML, figure 1)."""
    ordered = np.sort(point)[::-1]
    excess = (np.cumsum(ordered) - 1) / np.arange(1, len(point) + 1)
    found: Vector = np.maximum(point - excess[ordered > excess][-1], 0.0)
    return found


def length(products: Vector, w: Vector) -> float:
    """Of the gradients' sum with weights w [F], from their inner products [F, F]."""
    return math.sqrt(max(float(w @ products @ w), 0.0))
