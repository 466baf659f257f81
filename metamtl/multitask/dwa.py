"""Dynamic weight average: families whose loss falls slowest weigh most.

Liu, Johns & Davison (2019), End-to-End Multi-Task Learning with Attention, CVPR, equation 7: softmax(r / T) with r the
mean loss of the last epoch over that of the one before, here over their sum one. A family without a label in an update
enters no mean by it; without one in either epoch its r is 1, that of a loss that stands still. So it is for all in the
first two epochs, whose weights are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from metamtl.multitask.base import Combined, Weighting, by_loss_weights
from metamtl.registry import register


@register("weighting", "dwa")
class DWA(Weighting):
    """`temperature` T evens the weights out; an epoch is `every` updates, as families differ in size."""

    needs_all: ClassVar[bool] = True
    updates: Tensor
    sums: Tensor
    counts: Tensor
    last: Tensor
    before: Tensor

    def __init__(self, families: Mapping[str, str], *, temperature: float, every: int) -> None:
        super().__init__(families)
        self.temperature, self.every = temperature, every
        self.register_buffer("updates", torch.tensor(0))
        for name in ("sums", "counts", "last", "before"):  # the last two are zero for a family that was not there
            self.register_buffer(name, torch.zeros(len(families)))
        self.register_load_state_dict_pre_hook(_with_counts)  # type: ignore[no-untyped-call]

    def combine(self, gradients: Tensor, losses: Tensor, step: int) -> Combined:
        """The gradient of the weighted sum; then the losses enter the epoch's mean."""
        rates = torch.where((self.last > 0) & (self.before > 0), self.last / self.before, 1.0)
        weights = torch.softmax(rates / self.temperature, 0)
        there = losses > 0  # a loss of zero is that of a family without a label in this update
        self.sums += losses * there
        self.counts += there
        self.updates += 1
        if self.updates == self.every:
            self.before.copy_(self.last)
            self.last.copy_(self.sums / self.counts.clamp(min=1))
            for total in (self.sums, self.counts, self.updates):
                total.zero_()
        return by_loss_weights(weights, gradients)


def _with_counts(module: DWA, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Fits the state of runs begun before updates were counted by family: every family then counted in each."""
    if state.pop(f"{prefix}epochs", None) is not None:
        state[f"{prefix}counts"] = torch.zeros_like(module.counts) + state[f"{prefix}updates"]
