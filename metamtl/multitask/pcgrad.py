"""PCGrad: a gradient that points against another family's loses that part.

Yu et al. (2020), Gradient Surgery for Multi-Task Learning, NeurIPS, algorithm 1, divided by the number of families.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchjd.aggregation import PCGradWeighting

from metamtl.multitask.gramian import GramianWeighting
from metamtl.registry import register


@register("weighting", "pcgrad")
class PCGrad(GramianWeighting):
    """Each gradient projected off those it conflicts with, in a random order, then all summed."""

    def __init__(self, families: Sequence[str]) -> None:
        super().__init__(families, scale=1 / len(families))

    def weighting(self) -> Any:
        """PCGrad's weights."""
        return PCGradWeighting()
