"""Trunk: each family has a backbone of its own kind, under layers that all share.

Families of different inputs, such as an image and a text, meet in one space of features (Ngiam et al. 2011, Multimodal
Deep Learning, ICML, section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from metamtl.registry import register
from metamtl.sharing.base import Around, MakeBackbone, Shape, Sharing, twin


class Under(Around):
    """A backbone, a layer that brings its features to one width, and the shared trunk."""

    has_maps: ClassVar[bool] = False

    def __init__(self, own: nn.Module, width: int, trunk: nn.Module, features: int) -> None:
        super().__init__([own])
        self.width, self.length, self.trunk = width, features, trunk
        self.begin()

    def begin(self) -> None:
        """A new layer from the backbone's features."""
        self.bring = nn.Linear(super().features, self.width)

    @property
    def features(self) -> int:
        """Those of the trunk."""
        return self.length

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, features] of examples, or [N, L, features] of words."""
        features: Tensor = self.trunk(torch.relu(self.bring(self.inner[0](x))))
        return features


@register("sharing", "trunk")
class Trunk(Sharing):
    """`hidden` are the sizes of the shared layers, `width` that of their input."""

    own_kinds: ClassVar[bool] = True
    above: ClassVar[bool] = True

    def __init__(self, *, width: int, hidden: Sequence[int]) -> None:
        self.width, self.hidden = width, list(hidden)

    def backbones(self, shapes: Mapping[str, Shape], make: MakeBackbone) -> dict[str, nn.Module]:
        """Each family's own backbone under the one trunk."""
        pairs = pairwise([self.width, *self.hidden])
        trunk = nn.Sequential(*(nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairs))
        length = self.hidden[-1]
        return {name: Under(make(name), self.width, twin(trunk), length) for name in shapes}
