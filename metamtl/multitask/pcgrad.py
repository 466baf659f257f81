"""PCGrad: a gradient that points against another family's loses that part.

Yu et al. (2020), Gradient Surgery for Multi-Task Learning, NeurIPS, algorithm 1, divided by the number of families.
"""

from __future__ import annotations

from torch import Tensor
from torchjd.aggregation import PCGradWeighting

from metamtl.multitask.gramian import GramianWeighting
from metamtl.registry import register


@register("weighting", "pcgrad")
class PCGrad(GramianWeighting):
    """Each gradient projected off those it conflicts with, in a random order, then their mean."""

    def weights(self, gramian: Tensor) -> Tensor:
        """PCGrad's weights."""
        weights: Tensor = PCGradWeighting()(gramian) / len(gramian)
        return weights
