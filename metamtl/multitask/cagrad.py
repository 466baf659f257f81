"""CAGrad: the step near the mean gradient that helps the worst-off family most.

Liu et al. (2021), Conflict-Averse Gradient Descent for Multi-task Learning, NeurIPS, algorithm 1: with the mean g_0,
the step max_d min_i g_i d within ||d - g_0|| <= c ||g_0|| is g_0 + c ||g_0|| g_w / ||g_w||, where the weights w, not
negative and of sum one, minimise g_w g_0 + c ||g_0|| ||g_w||. It is divided by 1 + c, so that gradients which agree
make no longer a step than with equal weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from metamtl.multitask.gramian import GramianWeighting
from metamtl.multitask.simplex import Vector, length, minimised
from metamtl.registry import register


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
    """The weights w [F] on the simplex that minimise w `toward` + radius sqrt(w `products` w)."""
    scale = products.diagonal().max()
    products, toward, radius = products / scale, toward / scale, radius / np.sqrt(scale)
    return minimised(
        lambda w: float(w @ toward) + radius * length(products, w),
        lambda w: toward + radius * products @ w / max(length(products, w), 1e-12),
        len(toward),
    )
