"""Uncertainty weights: each family's loss by the noise that it is learnt to have.

Kendall, Gal & Cipolla (2018), Multi-Task Learning Using Uncertainty to Weigh Losses, CVPR: with s = log sigma^2, the
mean over families of exp(-s) L + s / 2 for cross-entropy (equation 10) and of exp(-s) L / 2 + s / 2 for squared errors
(equation 5). At the minimum sigma^2 is 2 L for the one and L for the other. In an update of some families their
numbers alone take part.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from metamtl.multitask.base import Combined, Weighting, by_loss_weights
from metamtl.registry import register


@register("weighting", "uncertainty")
class Uncertainty(Weighting):
    """Learns `log_variances` [F], from zero, with the run's optimiser at `pace` times its rate."""

    shares: Tensor

    def __init__(self, families: Mapping[str, str], *, pace: float = 1.0) -> None:
        super().__init__(families)
        self.pace = pace
        self.log_variances = nn.Parameter(torch.zeros(len(families)))
        halved = [0.5 if kind == "regression" else 1.0 for kind in families.values()]
        self.register_buffer("shares", torch.tensor(halved), persistent=False)

    def combine(self, gradients: Tensor, losses: Tensor, step: int) -> Combined:
        """The gradient of that mean, and its slope in `log_variances`."""
        there = list(range(len(self.families))) if self.present is None else list(self.present)
        precisions = self.shares[there] * torch.exp(-self.log_variances.detach()[there])
        # a loss of zero is that of a family without a label in this update, and says nothing of its noise
        slope = torch.where(losses > 0, 0.5 - precisions * losses, 0.0) / len(losses)
        every = torch.zeros_like(self.log_variances).index_copy(0, torch.tensor(there, device=slope.device), slope)
        return by_loss_weights(precisions / len(losses), gradients, {"log_variances": every})
