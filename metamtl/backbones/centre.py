"""Centring: the mean feature of training is kept, and subtracted when tasks are met (Wang et al. 2019, SimpleShot)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from metamtl.backbones.norm import BatchNorm
from metamtl.backbones.tail import NO_TAIL, Tail


class Centre(BatchNorm):
    """Features [N, D] as they are in training, less their mean at test; its statistics are kept as a norm's are.

    It neither scales nor shifts, so it has no weights.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features)
        del self.weight, self.bias

    @classmethod
    def after(cls, backbone: Any) -> nn.Module:
        """A backbone followed by the centring of its features."""
        centred = nn.Sequential(backbone, cls(backbone.features))
        centred.features = backbone.features
        return centred

    def forward(self, x: Tensor, tail: Tail = NO_TAIL) -> Tensor:
        """X, the same shape; then the tail."""
        if self.given is None:
            var, mean = torch.var_mean(x, 0, correction=0)
            self.used = (mean, var)
        else:
            mean, _ = self.used = self.given
        return tail.outputs(x if self.training else x - mean)
