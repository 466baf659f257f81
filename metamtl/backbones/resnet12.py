"""ResNet-12 as few-shot learning uses it (Oreshkin et al. 2018; Lee et al. 2019, section 4.1).

Four residual blocks of three 3x3 convolutions and a 2x2 max-pooling, leaky ReLU of slope 0.1, dropout in the first
two blocks and DropBlock in the last two. Lee et al. raise the drop rate linearly over the first 40,000 updates; here
it is constant, so that a pass depends on its inputs and its noise key alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from metamtl.backbones.layers import Layers
from metamtl.backbones.noise import DropBlock
from metamtl.backbones.norm import NormKind, norm_layer
from metamtl.errors import UsageError
from metamtl.registry import register


class ResidualBlock(nn.Module):
    """Three convolutions beside a 1x1 one, then pooling and noise: [N, C, H, W] to [N, C', H/2, W/2]."""

    def __init__(self, inputs: int, outputs: int, norm: NormKind, drop_rate: float, drop_block: int) -> None:
        super().__init__()
        bias = norm == "none"
        layers: list[nn.Module] = []
        for number, channels in enumerate((inputs, outputs, outputs)):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=bias), norm_layer(norm, outputs)]
            if number < 2:
                layers.append(nn.LeakyReLU(0.1))
        self.main = Layers(*layers)
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=bias), norm_layer(norm, outputs))
        self.after = nn.Sequential(nn.LeakyReLU(0.1), nn.MaxPool2d(2), DropBlock(drop_rate, drop_block))

    def forward(self, x: Tensor) -> Tensor:
        """The block's map at half the size."""
        maps: Tensor = self.after(self.main(x) + self.shortcut(x))
        return maps


@register("backbone", "resnet12")
class ResNet12(nn.Module):
    """Images [N, C, H, W] to features [N, features]: the last map's mean over space, or the map flattened.

    `map_shape` is that of the last map, [C, H, W]; a family that labels pixels sets `of_maps` and is given that map.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        widths: Sequence[int],
        drop_rate: float,
        drop_block: int,
        norm: NormKind,
        readout: Literal["flatten", "mean"] = "mean",
    ) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < 2 ** len(widths):
            raise UsageError(
                f"backbone=resnet12 takes images of at least {2 ** len(widths)} pixels a side; "
                f"this data has examples of shape {list(input_shape)}."
            )
        channels = [input_shape[0], *widths]
        blocks = [
            # single activations in the early blocks, squares where a map is small enough to hide a part
            ResidualBlock(a, b, norm, drop_rate, drop_block if number >= len(widths) - 2 else 1)
            for number, (a, b) in enumerate(pairwise(channels))
        ]
        self.blocks = nn.Sequential(*blocks)
        halved = 2 ** len(widths)
        self.map_shape = (channels[-1], input_shape[1] // halved, input_shape[2] // halved)
        self.readout = readout
        self.of_maps = False
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.1, mode="fan_out", nonlinearity="leaky_relu")

    @property
    def features(self) -> int:
        """Length of the features of an image, or of each place of the last map."""
        return self.map_shape[0] if self.of_maps or self.readout == "mean" else math.prod(self.map_shape)

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, features] of images [N, C, H, W], or the last map [N, features, h, w]."""
        maps: Tensor = self.blocks(x)
        if self.of_maps:
            return maps
        return torch.mean(maps, (2, 3)) if self.readout == "mean" else torch.flatten(maps, 1)
