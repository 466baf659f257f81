"""Fully connected layers with ReLU, for vectors (the sinusoid network of Finn et al. 2017 is 1-40-40-1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from metamtl.backbones.norm import NormKind, norm_layer
from metamtl.registry import register


@register("backbone", "mlp")
class MLP(nn.Module):
    """Examples of any shape, flattened, to features [N, hidden[-1]]."""

    def __init__(self, *, input_shape: tuple[int, ...], hidden: Sequence[int], norm: NormKind) -> None:
        super().__init__()
        sizes = [math.prod(input_shape), *hidden]
        self.layers = nn.Sequential(
            *(nn.Sequential(nn.Linear(a, b), norm_layer(norm, b), nn.ReLU()) for a, b in pairwise(sizes))
        )
        self.features = sizes[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, features] of examples [N, ...]."""
        features: Tensor = self.layers(torch.flatten(x, 1))
        return features
