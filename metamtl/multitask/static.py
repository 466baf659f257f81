"""Static weights: the objective sum_t lambda_t L_t with weights that the config gives, normalised to sum to one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from metamtl.errors import UsageError
from metamtl.multitask.base import Combined, Weighting, by_loss_weights
from metamtl.registry import register


@register("weighting", "static")
class Static(Weighting):
    """`weights` maps a family's name to its share; one that is not named has 1."""

    needs_all: ClassVar[bool] = True
    shares: Tensor

    def __init__(self, families: Mapping[str, str], *, weights: Mapping[str, float]) -> None:
        super().__init__(families)
        if wrong := [name for name in weights if name not in families]:
            raise UsageError(f"weighting.weights.{wrong[0]}: no such family; there are {', '.join(families)}.")
        given = torch.tensor([float(weights.get(name, 1.0)) for name in families])
        if (given < 0).any() or not 0 < given.sum() < math.inf:
            raise UsageError("weighting.weights: none may be negative, one must be above zero, and their sum finite.")
        self.register_buffer("shares", given / given.sum())

    def combine(self, gradients: Tensor, losses: Tensor, step: int) -> Combined:
        """The gradient of the weighted sum of the losses."""
        return by_loss_weights(self.shares.to(gradients), gradients)
