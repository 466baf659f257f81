"""Conv-4: blocks of 3x3 convolution, normalisation and ReLU (Vinyals et al. 2016; strided as in Finn et al. 2017).

Blocks that grow in width and features of the last two maps are those of Bertinetto et al. (2019), section 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from metamtl.backbones.layers import Layers
from metamtl.backbones.norm import NormKind, norm_layer
from metamtl.errors import UsageError
from metamtl.registry import register


@register("backbone", "conv4")
class Conv4(nn.Module):
    """Images [N, C, H, W] to features [N, features].

    `width`: channels of every block, or a list with those of each. `downsample`: max-pooling after each block, or
    convolutions of stride 2; the first `halvings` blocks do it (all where it is None). `readout`: the last map
    flattened, its mean over space, or the last two maps flattened. `map_shape` is that of the last map, [C, H, W];
    a family that labels pixels sets `of_maps` and is given that map.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        width: int | Sequence[int],
        blocks: int,
        downsample: Literal["pool", "stride"],
        readout: Literal["flatten", "mean", "last_two"],
        norm: NormKind,
        halvings: int | None = None,
    ) -> None:
        super().__init__()
        if len(input_shape) != 3:
            raise UsageError(
                f"backbone=conv4 takes images; this data has examples of shape {list(input_shape)}: use backbone=mlp."
            )
        widths = [width] * blocks if isinstance(width, int) else list(width)
        if len(widths) != blocks:
            raise UsageError(f"backbone.width lists {len(widths)} widths for backbone.blocks={blocks} blocks.")
        halving = ["none" if halvings is not None and number >= halvings else downsample for number in range(blocks)]
        pairs = zip(pairwise([input_shape[0], *widths]), halving, strict=True)
        self.blocks = nn.Sequential(*(self._block(a, b, how, norm) for (a, b), how in pairs))
        self.readout = readout
        shapes = self._map_shapes(input_shape, widths, halving)
        self.map_shape, self._before = shapes[-1], shapes[-2]
        self.of_maps = False

    @property
    def features(self) -> int:
        """Length of the features of an image, or of each place of the last map."""
        if self.of_maps or self.readout == "mean":
            return self.map_shape[0]
        return math.prod(self.map_shape) + (math.prod(self._before) if self.readout == "last_two" else 0)

    @staticmethod
    def _block(inputs: int, outputs: int, downsample: str, norm: NormKind) -> nn.Module:
        stride = 2 if downsample == "stride" else 1
        # batch statistics take any bias out again; without them the convolution needs its own
        convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=norm == "none")
        nn.init.xavier_uniform_(convolution.weight)
        # pooling commutes with ReLU, and ReLU on the pooled map touches a quarter of the elements
        pool = [nn.MaxPool2d(2)] if downsample == "pool" else []
        return Layers(convolution, norm_layer(norm, outputs), *pool, nn.ReLU())

    @staticmethod
    def _map_shapes(
        input_shape: tuple[int, ...], widths: Sequence[int], halving: Sequence[str]
    ) -> list[tuple[int, int, int]]:
        """Of the input and of the map after each block."""
        height, width = input_shape[1:]
        shapes = [(input_shape[0], height, width)]
        for channels, how in zip(widths, halving, strict=True):
            if how != "none":
                up = 1 if how == "stride" else 0  # a stride keeps an odd last row, pooling drops it
                height, width = (height + up) // 2, (width + up) // 2
            shapes.append((channels, height, width))
        if height * width == 0:
            raise UsageError(
                f"Images of {input_shape[1]}x{input_shape[2]} vanish in {len(halving) - halving.count('none')} "
                "halvings: lower backbone.blocks or backbone.halvings, or raise data.size."
            )
        return shapes

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, features] of images [N, C, H, W], or the last map [N, features, h, w]."""
        if self.readout == "last_two" and not self.of_maps:
            before: Tensor = self.blocks[:-1](x)
            last: Tensor = self.blocks[-1](before)
            return torch.cat([torch.flatten(before, 1), torch.flatten(last, 1)], 1)
        maps: Tensor = self.blocks(x)
        if self.of_maps:
            return maps
        return maps.mean((2, 3)) if self.readout == "mean" else torch.flatten(maps, 1)
