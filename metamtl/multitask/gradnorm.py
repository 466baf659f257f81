"""GradNorm: weights that make families learn at one pace, by the lengths of their gradients.

Chen et al. (2018), GradNorm: Gradient Normalization for Adaptive Loss Balancing, ICML, equation 2: each step lowers
sum_i |w_i ||g_i|| - mean_j(w_j ||g_j||) r_i^alpha| in w, with the target held fixed and r_i the family's loss over its
first one, relative to the mean of these; then w is normalised. Gradients are those of all shared weights.

Algorithm 1 descends plainly, by `lr` ||g_i|| a step: the right rate depends on the units of the losses, and the weights
step over the target and back for ever. Here lengths are divided by their mean, which frees the rate of units, and a
step ends at the target at the latest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from metamtl.multitask.base import Combined, Weighting, by_loss_weights
from metamtl.registry import register

TINY = 1e-12


@register("weighting", "gradnorm")
class GradNorm(Weighting):
    """`alpha` is how hard slow families are pulled along, `lr` the weights' own rate at a mean length of one."""

    needs_all: ClassVar[bool] = True
    shares: Tensor
    first: Tensor

    def __init__(self, families: Mapping[str, str], *, alpha: float, lr: float) -> None:
        super().__init__(families)
        self.alpha, self.lr = alpha, lr
        self.register_buffer("shares", torch.ones(len(families)))  # of mean one, as in the paper
        self.register_buffer("first", torch.full((len(families),), torch.nan))

    def combine(self, gradients: Tensor, losses: Tensor, step: int) -> Combined:
        """The gradient of the weighted mean of the losses; then the weights take their own step."""
        update = by_loss_weights(self.shares / len(losses), gradients)
        # a loss of zero is that of a family without a label in this update, which enters no mean
        count = (losses > 0).sum().clamp(min=1)
        self.first.copy_(torch.where(self.first.isnan() & (losses > 0), losses, self.first))
        lengths = torch.linalg.vector_norm(gradients, dim=1)
        left = (losses / self.first).nan_to_num()
        pace = left / (left.sum() / count).clamp(min=TINY)
        excess = self.shares * lengths - (self.shares * lengths).sum() / count * pace**self.alpha
        change = self.lr * lengths / (lengths.sum() / count).clamp(min=TINY)
        to_target = excess.abs() / lengths.clamp(min=TINY)
        moved = (self.shares - excess.sign() * torch.minimum(change, to_target)).clamp(min=TINY)
        self.shares.copy_(moved / moved.mean())
        return update
