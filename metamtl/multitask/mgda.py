"""MGDA: the shortest step in the convex hull of the gradients, along which no family's loss rises.

Désidéri (2012), Multiple-gradient descent algorithm (MGDA) for multiobjective optimization, Comptes Rendus; for
families Sener & Koltun (2018), Multi-Task Learning as Multi-Objective Optimization, NeurIPS, equation 3. Their
Frank-Wolfe steps are slow near the answer and give one of two equal gradients all the weight: the problem is solved
otherwise here. The step is zero where a family's gradient is, as no step then helps them all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metamtl.multitask.gramian import GramianWeighting
from metamtl.multitask.simplex import minimised
from metamtl.registry import register


@register("weighting", "mgda")
class MGDA(GramianWeighting):
    """min ||w J|| over weights that are not negative and sum to one."""

    def weights(self, gramian: Tensor) -> Tensor:
        """The weights of that shortest step, equal ones where all gradients are zero."""
        products = gramian.double().numpy()
        products = products / max(products.diagonal().max(), 1e-300)
        w = minimised(lambda w: float(w @ products @ w) / 2, lambda w: products @ w, len(products))
        return torch.from_numpy(w).to(gramian)
