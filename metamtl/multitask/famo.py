"""FAMO: weights under which every loss falls by the same share, learnt from the losses alone.

Liu et al. (2023), FAMO: Fast Adaptive Multitask Optimization, NeurIPS, algorithm 1: the step takes the gradients of the
log-losses with z = softmax(xi), over their sum c; then xi -= lr (J^T (log L_before - log L_after) + decay xi), with J
the softmax's Jacobian and both losses on one minibatch. The second is measured when the next step begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from metamtl.multitask.base import Combined, Weighting, by_loss_weights
from metamtl.registry import register

TINY = 1e-8


@register("weighting", "famo")
class FAMO(Weighting):
    """`lr` and `decay` are those of the logits xi [F]; an update costs twice that of equal weights."""

    needs_all: ClassVar[bool] = True
    logits: Tensor
    logs: Tensor
    previous: Tensor

    def __init__(self, families: Mapping[str, str], *, lr: float, decay: float) -> None:
        super().__init__(families)
        self.lr, self.decay = lr, decay
        self.register_buffer("logits", torch.zeros(len(families)))
        self.register_buffer("logs", torch.zeros(len(families)))  # of the losses before the last update
        self.register_buffer("previous", torch.tensor(-1))  # the step of that update

    def combine(self, gradients: Tensor, losses: Tensor, step: int) -> Combined:
        """The normalised gradient of the weighted log-losses, after the logits have learnt from the last update."""
        if self.previous >= 0:
            _, after = self.probe(torch.zeros_like(gradients[0]), int(self.previous))
            # a family without a label in that update took no part in it
            shares = torch.softmax(self.logits, 0) * (after > 0)
            shares /= shares.sum().clamp(min=TINY)
            fall = self.logs - after.clamp(min=TINY).log()
            self.logits -= self.lr * (shares * (fall - shares @ fall) + self.decay * self.logits)
        known = losses.clamp(min=TINY)
        self.logs.copy_(known.log())
        self.previous.fill_(step)
        # a loss of zero is that of a family without a label in this update
        weights = torch.where(losses > 0, torch.softmax(self.logits, 0) / known, 0.0)
        return by_loss_weights(weights / weights.sum().clamp(min=TINY), gradients)
