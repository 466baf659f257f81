"""Conv-4: blocks of 3x3 convolution, normalisation and ReLU (Vinyals et al. 2016; strided as in Finn et al. 2017)."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from metamtl.backbones.norm import NormKind, norm_layer
from metamtl.errors import UsageError
from metamtl.registry import register


@register("backbone", "conv4")
class Conv4(nn.Module):
    """Images [N, C, H, W] to features [N, features].

    `downsample`: max-pooling after each block, or convolutions of stride 2. `readout`: the last map flattened, or its
    mean over space.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        width: int,
        blocks: int,
        downsample: Literal["pool", "stride"],
        readout: Literal["flatten", "mean"],
        norm: NormKind,
    ) -> None:
        super().__init__()
        if len(input_shape) != 3:
            raise UsageError(
                f"backbone=conv4 takes images; this data has examples of shape {list(input_shape)}: use backbone=mlp."
            )
        channels = [input_shape[0], *[width] * blocks]
        self.blocks = nn.Sequential(*(self._block(a, b, downsample, norm) for a, b in pairwise(channels)))
        self.readout = readout
        self.features = self._feature_size(input_shape, width, downsample)

    @staticmethod
    def _block(inputs: int, outputs: int, downsample: str, norm: NormKind) -> nn.Module:
        stride = 2 if downsample == "stride" else 1
        # batch statistics take any bias out again; without them the convolution needs its own
        convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=norm == "none")
        nn.init.xavier_uniform_(convolution.weight)
        # pooling commutes with ReLU, and ReLU on the pooled map touches a quarter of the elements
        pool = [nn.MaxPool2d(2)] if downsample == "pool" else []
        return nn.Sequential(convolution, norm_layer(norm, outputs), *pool, nn.ReLU())

    def _feature_size(self, input_shape: tuple[int, ...], channels: int, downsample: str) -> int:
        height, width = input_shape[1:]
        for _ in self.blocks:
            height, width = (
                ((height + 1) // 2, (width + 1) // 2) if downsample == "stride" else (height // 2, width // 2)
            )
        if height * width == 0:
            raise UsageError(
                f"Images of {input_shape[1]}x{input_shape[2]} vanish in {len(self.blocks)} halvings: "
                "lower backbone.blocks or raise data.size."
            )
        return channels if self.readout == "mean" else channels * height * width

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, features] of images [N, C, H, W]."""
        maps: Tensor = self.blocks(x)
        return maps.mean((2, 3)) if self.readout == "mean" else torch.flatten(maps, 1)
