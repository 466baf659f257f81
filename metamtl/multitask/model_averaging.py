"""Model averaging: each family trains a copy of the shared weights for some steps, and the copies are averaged.

McMahan et al. (2017), Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS, algorithm 1,
with families for clients. The mean displacement over rate x steps is the update's gradient, so that the run's own
optimiser takes it (Reddi et al. 2021, Adaptive Federated Optimization, ICLR, algorithm 1); one step is equal weights.
Losses k times as large go with a rate k times as small, for an update k times as long; at one rate it is less than that
as copies come near their minima, and more where their steps overshoot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from metamtl.multitask.base import Combined, Weighting
from metamtl.registry import register


@register("weighting", "model_averaging")
class ModelAveraging(Weighting):
    """`steps` of plain descent at `rate`, on the examples of this update and of those that follow it.

    An update costs `steps` times that of equal weights; weights that a family has alone take their gradient here.
    """

    needs_all: ClassVar[bool] = True

    def __init__(self, families: Mapping[str, str], *, steps: int, rate: float) -> None:
        super().__init__(families)
        self.steps, self.rate = steps, rate

    def combine(self, gradients: Tensor, losses: Tensor, step: int) -> Combined:
        """The mean over families and steps of the gradients along each family's own way."""
        along = gradients.clone()  # the sum of a family's gradients so far
        for later in range(step + 1, step + self.steps):
            here = -self.rate * along
            along += torch.cat([self.probe(change, later, only=family)[0] for family, change in enumerate(here)])
        return Combined(along.mean(0) / self.steps, torch.full_like(losses, 1 / len(losses)))
