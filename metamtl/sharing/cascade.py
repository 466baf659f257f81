"""Cascade: one backbone, and heads that see what the head of another family says.

Hashimoto et al. (2017), A Joint Many-Task Model, EMNLP: a task higher up is given the embeddings of the
labels of one below, weighted by their probabilities. Here its head sees the backbone's features and those embeddings
side by side, and its gradient reaches the head below. (The head's outputs themselves, which are linear in the features,
would tell a linear head nothing; numbers are embedded as they are.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from metamtl.algos.base import Learner
from metamtl.data.family import Family
from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.sharing.base import Around, MakeBackbone, Shape, Sharing, only_shape, twin


class Fed(Around):
    """Features of a backbone, and beside them what another family's network says."""

    has_maps: ClassVar[bool] = False

    def __init__(self, backbone: nn.Module, below: nn.Module, head: nn.Module, family: Family, labels: Tensor) -> None:
        super().__init__([backbone])
        self.below, self.head, self.family, self.labels = below, head, family, nn.Parameter(labels)

    @property
    def features(self) -> int:
        """Those of the backbone and what is told."""
        return super().features + self.labels.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, D] of examples, or [N, L, D] of words; what is said of words is averaged for an example."""
        own, told = self.inner[0](x), self.family.said(self.head(self.below(x))) @ self.labels
        if told.dim() > own.dim():
            told = told.mean(1)
        elif told.dim() < own.dim():
            told = told.unsqueeze(1).expand(-1, own.shape[1], -1)
        return torch.cat([own, told], -1)


@register("sharing", "cascade")
class Cascade(Sharing):
    """`feeds` maps a family to the one before it whose answer it sees; empty, all others see that of the first.

    Each has embeddings of its own, of length `embedding`, of the labels that it is told.
    """

    def __init__(self, *, feeds: Mapping[str, str], embedding: int) -> None:
        self.feeds, self.embedding = dict(feeds), embedding

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

    def joined(self, name: str, backbone: nn.Module, earlier: Mapping[str, Learner]) -> nn.Module:
        """The backbone, fed where the family is; UsageError where the other has no outputs of its own."""
        if name not in self.feeds:
            return backbone
        learner = earlier[self.feeds[name]]
        below = learner.network
        if not isinstance(below.head, nn.Linear):
            raise UsageError(
                f"sharing=cascade: the family {self.feeds[name]} has no linear head whose outputs {name} could see: "
                "take joint or maml, or sharing=hard."
            )
        labels = torch.randn(below.head.out_features, self.embedding).to(below.head.weight)
        return Fed(backbone, twin(below.backbone), twin(below.head), learner.family, labels)
