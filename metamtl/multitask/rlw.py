"""Random loss weights: the softmax of normal numbers drawn at every step, a baseline that learnt weights should beat.

Lin et al. (2022), Reasonable Effectiveness of Random Weighting, TMLR, algorithm 1 with the normal distribution.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from metamtl.multitask.base import Combined, Weighting, by_loss_weights
from metamtl.registry import register


@register("weighting", "rlw")
class RLW(Weighting):
    """Other weights at every step and for every seed; of sum one, and equal on average."""

    needs_two: ClassVar[bool] = True

    def combine(self, gradients: Tensor, losses: Tensor, step: int) -> Combined:
        """The gradient of the randomly weighted sum."""
        generator = torch.Generator().manual_seed(self.random_seed(step))
        drawn = torch.randn(len(losses), generator=generator, dtype=torch.float64)
        return by_loss_weights(torch.softmax(drawn, 0).to(losses), gradients)
