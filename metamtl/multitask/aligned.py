"""Aligned-MTL: the gradients' principal components brought to one length, so that none dominates.

Senushkin et al. (2023), Independent Component Alignment for Multi-Task Learning, CVPR, algorithm 1: all singular values
of the gradient matrix become the smallest one that is not zero, and its rows' mean is the step.
"""

from __future__ import annotations

from torch import Tensor
from torchjd.aggregation import AlignedMTLWeighting

from metamtl.multitask.gramian import GramianWeighting
from metamtl.registry import register


@register("weighting", "aligned")
class Aligned(GramianWeighting):
    """The balance transformation of equal preferences."""

    def weights(self, gramian: Tensor) -> Tensor:
        """Sigma_min V Sigma^-1 V^T applied to 1 / F each."""
        weights: Tensor = AlignedMTLWeighting()(gramian)
        return weights
