"""Equal weights: the mean of the families' losses, the baseline that most weightings do not beat.

Kurin et al. (2022), In Defense of the Unitary Scalarization for Deep Multi-Task Learning, NeurIPS. A mean and not a
sum: the step does not grow with the number of families.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metamtl.multitask.base import Combined, Weighting, by_loss_weights
from metamtl.registry import register


@register("weighting", "equal")
class Equal(Weighting):
    """1 / F for each family."""

    def combine(self, gradients: Tensor, losses: Tensor, step: int) -> Combined:
        """The gradient of the mean loss."""
        return by_loss_weights(torch.full_like(losses, 1 / len(losses)), gradients)
