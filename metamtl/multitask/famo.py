"""FAMO: weights under which every loss falls by the same share, learnt from the losses alone.

Liu, Feng, Stone & Liu (2023), FAMO: Fast Adaptive Multitask Optimization, NeurIPS. By algorithm 1 a step takes the
gradients of the log-losses with z = softmax(xi), over their sum c; then xi descends on
J^T (log L_before - log L_after) + decay xi, with J the softmax's Jacobian and both losses on one minibatch. The second
is measured when the next step begins. Algorithm 1 descends plainly; here Adam takes that slope, decay included, as in
the authors' code, whose rate 0.025 is one of Adam's. They also clip the update, which here `trainer.clip_norm` may do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from metamtl.multitask.base import Combined, Weighting, by_loss_weights
from metamtl.registry import register

TINY = 1e-8
BETAS = (0.9, 0.999)  # Adam's, as torch has them and the authors leave them


@register("weighting", "famo")
class FAMO(Weighting):
    """`lr` is Adam's rate for the logits xi [F], `decay` pulls these to zero; it costs twice what equal weights do."""

    needs_all: ClassVar[bool] = True
    logits: Tensor
    slope: Tensor
    square: Tensor
    moves: Tensor
    logs: Tensor
    previous: Tensor

    def __init__(self, families: Mapping[str, str], *, lr: float, decay: float) -> None:
        super().__init__(families)
        self.lr, self.decay = lr, decay
        # of Adam: the means of slopes and of their squares, and how often each logit has moved
        for name in ("logits", "slope", "square", "moves"):
            self.register_buffer(name, torch.zeros(len(families)))
        self.register_buffer("logs", torch.zeros(len(families)))  # of the losses before the last update
        self.register_buffer("previous", torch.tensor(-1))  # the step of that update

    def combine(self, gradients: Tensor, losses: Tensor, step: int) -> Combined:
        """The normalised gradient of the weighted log-losses, after the logits have learnt from the last update."""
        if self.previous >= 0:
            _, after = self.probe(torch.zeros_like(gradients[0]), int(self.previous))
            self._learn(after)
        known = losses.clamp(min=TINY)
        self.logs.copy_(known.log())
        self.previous.fill_(step)
        # a loss of zero is that of a family without a label in this update
        weights = torch.where(losses > 0, torch.softmax(self.logits, 0) / known, 0.0)
        return by_loss_weights(weights / weights.sum().clamp(min=TINY), gradients)

    def _learn(self, after: Tensor) -> None:
        """One step of Adam from the losses [F] after the last update, on its own minibatch."""
        there = after > 0  # a family without a label in that update took no part in it: its logit stays
        shares = torch.softmax(self.logits, 0) * there
        shares /= shares.sum().clamp(min=TINY)
        fall = self.logs - after.clamp(min=TINY).log()
        slope = shares * (fall - shares @ fall) + self.decay * self.logits
        self.moves += there
        for mean, value, beta in zip((self.slope, self.square), (slope, slope.square()), BETAS, strict=True):
            mean.copy_(torch.where(there, beta * mean + (1 - beta) * value, mean))
        # 1 - beta^moves, exact in float32 too; the clamp is for a family that was in no update yet
        first, second = (-torch.expm1(self.moves.clamp(min=1) * math.log(beta)) for beta in BETAS)
        self.logits -= self.lr * there * (self.slope / first) / ((self.square / second).sqrt() + TINY)
