"""Affinity weights: families whose steps help the others most weigh most.

lambda = softmax(Z / temperature), with Z_i the moving average of what a step for family i does to the others' losses
(Fifty et al. 2021, Efficiently Identifying Task Groupings for Multi-Task Learning, NeurIPS, equation 1). Z is a share
of the loss that is met, whose unit does not count. The unit of the loss that is stepped for does, as the step is plain
descent: a longer gradient weighs more until its step overshoots, and then nothing. All losses k times as large go with
a rate k times as small.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from metamtl.multitask.base import Combined, Weighting, by_loss_weights
from metamtl.multitask.relatedness import affinities
from metamtl.registry import register


@register("weighting", "affinity")
class Affinity(Weighting):
    """Measures affinities at `rate` every `every` updates, each at the cost of F updates, averaged with `decay`."""

    needs_all: ClassVar[bool] = True
    mean: Tensor

    def __init__(
        self, families: Mapping[str, str], *, temperature: float, decay: float, every: int, rate: float
    ) -> None:
        super().__init__(families)
        self.temperature, self.decay, self.every, self.rate = temperature, decay, every, rate
        self.register_buffer("mean", torch.full((len(families),), torch.nan))

    def combine(self, gradients: Tensor, losses: Tensor, step: int) -> Combined:
        """The gradient of the weighted sum of the losses."""
        if step % self.every == 0:
            found = affinities(gradients, losses, self.probe, self.rate, step)
            onto_others = (found.sum(1) - found.diagonal()) / max(1, len(found) - 1)
            self.mean.copy_(torch.where(self.mean.isnan(), onto_others, self.mean.lerp(onto_others, 1 - self.decay)))
        return by_loss_weights(torch.softmax(self.mean.nan_to_num() / self.temperature, 0), gradients)
