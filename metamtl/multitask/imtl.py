"""IMTL-G: a step whose projections on all gradients are equally long, however long the gradients are.

Liu et al. (2021), Towards Impartial Multi-Task Learning, ICLR, equation 4, by the pseudo-inverse of the Gramian, so
that gradients may depend on one another (Quinton & Rey, 2024). Weights sum to one and may be negative.
"""

from __future__ import annotations

from torch import Tensor
from torchjd.aggregation import IMTLGWeighting

from metamtl.multitask.gramian import GramianWeighting
from metamtl.registry import register


@register("weighting", "imtl")
class IMTL(GramianWeighting):
    """Equal projections on the unit gradients."""

    def weights(self, gramian: Tensor) -> Tensor:
        """G^+ d over its sum, with d the gradients' lengths; zero where all gradients are."""
        scale = gramian.diagonal().mean()
        weights: Tensor = IMTLGWeighting()(gramian / scale if scale > 0 else gramian)
        return weights
