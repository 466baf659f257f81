"""Dynamic weight average: families whose loss falls slowest weigh most.

Liu, Johns & Davison (2019), End-to-End Multi-Task Learning with Attention, CVPR, equation 7: softmax(r / T) with r the
mean loss of the last epoch over that of the one before, here over their sum one. Weights are equal for two epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from metamtl.multitask.base import Combined, Weighting, by_loss_weights
from metamtl.registry import register

TINY = 1e-12


@register("weighting", "dwa")
class DWA(Weighting):
    """`temperature` T evens the weights out; an epoch is `every` updates, as families differ in size."""

    needs_all: ClassVar[bool] = True
    epochs: Tensor
    updates: Tensor
    sums: Tensor
    last: Tensor
    before: Tensor

    def __init__(self, families: Mapping[str, str], *, temperature: float, every: int) -> None:
        super().__init__(families)
        self.temperature, self.every = temperature, every
        for name in ("epochs", "updates"):
            self.register_buffer(name, torch.tensor(0))
        for name in ("sums", "last", "before"):
            self.register_buffer(name, torch.zeros(len(families)))

    def combine(self, gradients: Tensor, losses: Tensor, step: int) -> Combined:
        """The gradient of the weighted sum; then the losses enter the epoch's mean."""
        rates = self.last / self.before.clamp(min=TINY) if self.epochs >= 2 else torch.zeros_like(losses)
        weights = torch.softmax(rates / self.temperature, 0)
        self.sums += losses
        self.updates += 1
        if self.updates == self.every:
            self.before.copy_(self.last)
            self.last.copy_(self.sums / self.every)
            self.sums.zero_()
            self.updates.zero_()
            self.epochs += 1
        return by_loss_weights(weights, gradients)
