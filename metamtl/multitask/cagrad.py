"""CAGrad: the step near the mean gradient that helps the worst-off family most.

Liu et al. (2021), Conflict-Averse Gradient Descent for Multi-task Learning, NeurIPS, algorithm 1: with the mean g_0,
the step max_d min_i g_i d within ||d - g_0|| <= c ||g_0|| is g_0 + c ||g_0|| g_w / ||g_w||, where the weights w, not
negative and of sum one, minimise g_w g_0 + c ||g_0|| ||g_w||. It is divided by 1 + c, so that gradients which agree
make no longer a step than with equal weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metamtl.multitask.gramian import GramianWeighting
from metamtl.registry import register

Vector = NDArray[np.float64]
ITERATIONS = 500
TOLERANCE = 1e-10  # of a move of the weights


@register("weighting", "cagrad")
class CAGrad(GramianWeighting):
    """`c` is how far from the mean the step may be, as a share of its length."""

    def __init__(self, families: Mapping[str, str], *, c: float) -> None:
        super().__init__(families)
        self.c = c

    def weights(self, gramian: Tensor) -> Tensor:
        """(1/F + c ||g_0|| w / ||g_w||) / (1 + c); equal weights where the mean gradient is zero."""
        products: Vector = gramian.double().numpy()
        equal = np.full(len(products), 1 / len(products))
        radius = self.c * length(products, equal)
        if radius == 0:
            return torch.from_numpy(equal).to(gramian)
        w = worst_off(products, products @ equal, radius)
        to_worst = length(products, w)
        # where g_w vanishes no direction helps all, and the mean is left as it is
        lean = radius * w / to_worst if to_worst > 1e-9 * np.sqrt(products.diagonal().max()) else np.zeros_like(w)
        return torch.from_numpy((equal + lean) / (1 + self.c)).to(gramian)


def worst_off(products: Vector, toward: Vector, radius: float) -> Vector:
    """The weights w [F] on the simplex that minimise w `toward` + radius sqrt(w `products` w), a convex problem.

    By accelerated projected gradient steps with backtracking and restarts.
    """
    scale = products.diagonal().max()
    products, toward, radius = products / scale, toward / scale, radius / np.sqrt(scale)

    def value(w: Vector) -> float:
        return float(w @ toward) + radius * length(products, w)

    w = ahead = np.full(len(toward), 1 / len(toward))
    momentum, rate = 1.0, 1.0
    for _ in range(ITERATIONS):
        slope = toward + radius * products @ ahead / max(length(products, ahead), 1e-12)
        while True:
            after = on_simplex(ahead - rate * slope)
            move = after - ahead
            if value(after) <= value(ahead) + slope @ move + move @ move / (2 * rate) + 1e-15 or rate < 1e-12:
                break
            rate /= 2
        if value(after) > value(w):  # the momentum led astray
            if momentum == 1.0:
                break
            ahead, momentum = w, 1.0
            continue
        moved, grown = after - w, (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead, w, momentum = on_simplex(after + (momentum - 1) / grown * moved), after, grown
        if np.abs(moved).max() < TOLERANCE:
            break
    return w


def length(products: Vector, w: Vector) -> float:
    """Of the gradients' sum with weights w [F], from their inner products [F, F]."""
    return math.sqrt(max(float(w @ products @ w), 0.0))


def on_simplex(point: Vector) -> Vector:
    """The nearest weights that are not negative and sum to one (Duchi et al. 2008, ICML, figure 1)."""
    ordered = np.sort(point)[::-1]
    excess = (np.cumsum(ordered) - 1) / np.arange(1, len(point) + 1)
    nearest: Vector = np.maximum(point - excess[ordered > excess][-1], 0.0)
    return nearest
