"""Cascade: one backbone, and heads that see what the head of another family says.

Hashimoto et al. (2017), A Joint Many-Task Model, EMNLP, section 2: a task higher up is given the outputs of one below.
Here its head sees the backbone's features and those outputs side by side, and its gradient reaches the head below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.sharing.base import Around, MakeBackbone, Shape, Sharing, only_shape, twin


class Fed(Around):
    """Features of a backbone, and beside them the outputs of another family's network."""

    has_maps: ClassVar[bool] = False

    def __init__(self, backbone: nn.Module, below: nn.Module, head: nn.Module) -> None:
        super().__init__([backbone])
        self.below, self.head = below, head
        with torch.no_grad():
            like = next(head.parameters())
            self.told = head(like.new_zeros(1, int(below.features))).shape[-1]  # type: ignore[arg-type]

    @property
    def features(self) -> int:
        """Those of the backbone and the outputs."""
        return super().features + int(self.told)

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, D] of examples, or [N, L, D] of words; outputs for words are averaged for an example."""
        own, told = self.inner[0](x), self.head(self.below(x))
        if told.dim() > own.dim():
            told = told.mean(1)
        elif told.dim() < own.dim():
            told = told.unsqueeze(1).expand(-1, own.shape[1], -1)
        return torch.cat([own, told], -1)


@register("sharing", "cascade")
class Cascade(Sharing):
    """`feeds` maps a family to the one before it whose output it sees; empty, all others see that of the first."""

    def __init__(self, *, feeds: Mapping[str, str]) -> None:
        self.feeds = dict(feeds)

    def backbones(self, shapes: Mapping[str, Shape], make: MakeBackbone) -> dict[str, nn.Module]:
        """Twins of one backbone; UsageError where `feeds` names a family that is not there, or not before the other."""
        names = list(shapes)
        shared = make(only_shape(shapes, "cascade"))
        self.feeds = self.feeds or dict.fromkeys(names[1:], names[0])
        for fed, below in self.feeds.items():
            if fed not in names or below not in names[: names.index(fed)]:
                raise UsageError(
                    f"sharing.feeds.{fed}={below}: name a family and one that stands before it among the families, "
                    f"which are {', '.join(names)}."
                )
        return {name: twin(shared) for name in names}

    def joined(self, name: str, backbone: nn.Module, earlier: Mapping[str, nn.Module]) -> nn.Module:
        """The backbone, fed where the family is; UsageError where the other has no outputs of its own."""
        if name not in self.feeds:
            return backbone
        below = earlier[self.feeds[name]]
        if not isinstance(below.head, nn.Linear):
            raise UsageError(
                f"sharing=cascade: the family {self.feeds[name]} has no linear head whose outputs {name} could see: "
                "take joint or maml, or sharing=hard."
            )
        return Fed(backbone, twin(below.backbone), twin(below.head))  # type: ignore[arg-type]
