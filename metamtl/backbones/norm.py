"""Normalisation layers whose statistics are explicit inputs and outputs.

Batch normalisation (Ioffe & Szegedy 2015) is written from `var_mean`: derivatives of any order are then right under
`torch.func.vmap`, where backward through the native operator is not. Which statistics a pass uses is the caller's
decision (`given`), and what it used can be read back (`used`); no pass changes the layer.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

NormKind = Literal["batch", "running", "group", "none"]
Statistics = tuple[Tensor, Tensor]  # mean [C] and biased variance [C]


class BatchNorm(nn.Module):
    """Normalises x [N, C, ...] over all axes but C, with the batch's statistics or with `given` ones.

    `running_mean` and `running_var` [C] hold averages over training where the run asks for them.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.epsilon = epsilon
        self.given: Statistics | None = None
        self.used: Statistics | None = None

    def forward(self, x: Tensor) -> Tensor:
        """X normalised, scaled and shifted; the same shape."""
        if self.given is None:
            var, mean = torch.var_mean(x, [0, *range(2, x.dim())], correction=0)
        else:
            mean, var = self.given
        self.used = (mean, var)
        scale = self.weight * torch.rsqrt(var + self.epsilon)
        shape = (-1,) + (1,) * (x.dim() - 2)
        return x * scale.view(shape) + (self.bias - mean * scale).view(shape)


class GroupNorm(nn.Module):
    """Normalises each example of x [N, C, ...] over groups of channels (Wu & He 2018); no statistics to choose."""

    def __init__(self, channels: int, groups: int = 8, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.groups = next(count for count in range(min(groups, channels), 0, -1) if channels % count == 0)
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """X normalised, scaled and shifted; the same shape."""
        grouped = x.reshape(x.shape[0], self.groups, -1)
        var, mean = torch.var_mean(grouped, 2, correction=0, keepdim=True)
        shape = (-1,) + (1,) * (x.dim() - 2)
        normal = ((grouped - mean) * torch.rsqrt(var + self.epsilon)).view(x.shape)
        return normal * self.weight.view(shape) + self.bias.view(shape)


def norm_layer(kind: NormKind, channels: int) -> nn.Module:
    """The layer of a `backbone.norm` choice; `batch` and `running` differ only in how the network calls it."""
    if kind == "group":
        return GroupNorm(channels)
    return nn.Identity() if kind == "none" else BatchNorm(channels)
