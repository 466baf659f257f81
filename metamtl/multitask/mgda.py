"""MGDA: the shortest step in the convex hull of the gradients, along which no family's loss rises.

Désidéri (2012), Multiple-gradient descent algorithm (MGDA) for multiobjective optimization, Comptes Rendus; by the
Frank-Wolfe solver of Sener & Koltun (2018), Multi-Task Learning as Multi-Objective Optimization, NeurIPS, algorithm 2.
The step is zero where a family's gradient is, as no step then helps them all.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torchjd.aggregation import MGDAWeighting

from metamtl.multitask.gramian import GramianWeighting
from metamtl.registry import register


@register("weighting", "mgda")
class MGDA(GramianWeighting):
    """min ||w J|| over weights that are not negative and sum to one, in at most `iterations` steps."""

    def __init__(self, families: Mapping[str, str], *, iterations: int) -> None:
        super().__init__(families)
        self.solver = MGDAWeighting(epsilon=1e-5, max_iters=iterations)

    def weights(self, gramian: Tensor) -> Tensor:
        """The weights of that shortest step."""
        weights: Tensor = self.solver(gramian)
        return weights
