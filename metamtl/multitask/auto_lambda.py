"""Auto-Lambda: weights that lower the losses after a look-ahead step, on examples that the step did not see.

Liu, James, Davison & Johns (2022), Auto-Lambda: Disentangling Dynamic Task Relationships, TMLR, equation 4: with
theta' = theta - rate sum_i lambda_i g_i, the slope of the primary families' losses at theta' in lambda_i is
-rate g_i . grad L(theta'). It is exact here, as theta' is linear in lambda, and needs no finite differences. The step
looks ahead in the shared weights; the losses at theta' are those of the next update's training examples, as in the
paper: validation examples stay for selection. The slope is k times as long for a family whose loss is k times as large,
and all losses k times as large go with a rate k times as small, for slopes k times as long. Adam divides by how long
slopes are; plain descent does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from metamtl.errors import UsageError
from metamtl.multitask.base import Combined, Weighting, by_loss_weights
from metamtl.registry import register


@register("weighting", "auto_lambda")
class AutoLambda(Weighting):
    """Learns `lambdas` [F], from 1 / F, with the run's optimiser at `pace` times its rate; one below zero leaves its
    family out.

    `primary` are the families whose losses count, all of them where it is empty; `rate` is that of the look-ahead. An
    update costs twice that of equal weights.
    """

    needs_all: ClassVar[bool] = True
    counted: Tensor

    def __init__(self, families: Mapping[str, str], *, primary: Sequence[str], rate: float, pace: float = 1.0) -> None:
        super().__init__(families)
        if wrong := [name for name in primary if name not in families]:
            raise UsageError(f"weighting.primary: there is no family {wrong[0]}; there are {', '.join(families)}.")
        self.rate, self.pace = rate, pace
        self.lambdas = nn.Parameter(torch.full((len(families),), 1 / len(families)))
        counted = torch.tensor([float(not primary or name in primary) for name in families])
        self.register_buffer("counted", counted / counted.sum(), persistent=False)

    def combine(self, gradients: Tensor, losses: Tensor, step: int) -> Combined:
        """The gradient of the weighted sum of the losses, and the slope of the look-ahead's loss in `lambdas`."""
        weights = self.lambdas.detach().clamp(min=0)
        ahead, _ = self.probe(-self.rate * weights @ gradients, step + 1)
        slope = -self.rate * gradients @ (self.counted @ ahead)
        return by_loss_weights(weights, gradients, {"lambdas": slope})
