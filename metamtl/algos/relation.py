"""Relation networks: a learned module says how alike the feature maps of a query and of a class are.

Sung, Yang, Zhang, Xiang, Torr & Hospedales (2018), Learning to Compare: Relation Network for Few-Shot Learning, CVPR:
equation 1 (the scores r), equation 2 (mean squared error against 1 for the right class and 0 for others), and section
3.2 (the maps of a class's examples are summed). The module of section 3.4 is two convolutional blocks and two fully
connected layers. Its blocks are normalised by group here, where the authors use batch statistics over all pairs, so
that a score depends on its own pair alone.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.algos.embedding import EmbeddingLearner
from metamtl.backbones.norm import norm_layer
from metamtl.data.task import Examples, size
from metamtl.errors import UsageError
from metamtl.registry import register


class RelationModule(nn.Module):
    """From two maps over one another [N, 2 C, H, W] to scores in [0, 1] [N]; a map of one pixel is not pooled."""

    def __init__(self, shape: tuple[int, int, int], hidden: int) -> None:
        super().__init__()
        channels, height, width = shape
        layers: list[nn.Module] = []
        for inputs in (2 * channels, channels):
            layers += [nn.Conv2d(inputs, channels, 3, padding=1), norm_layer("group", channels), nn.ReLU()]
            if min(height, width) > 1:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
        self.blocks = nn.Sequential(*layers)
        self.layers = nn.Sequential(nn.Linear(channels * height * width, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, pairs: Tensor) -> Tensor:
        """Scores [N]."""
        scores: Tensor = self.layers(torch.flatten(self.blocks(pairs), 1))
        return scores.squeeze(1).sigmoid()


@register("algo", "relation")
class RelationNet(EmbeddingLearner):
    """Compares the last maps of the backbone; features without a map are maps of one pixel."""

    def __init__(self, *, hidden: int, **context: Any) -> None:
        super().__init__(**context)
        backbone = context["backbone"]
        self.map_shape: tuple[int, int, int] = getattr(backbone, "map_shape", (backbone.features, 1, 1))
        if math.prod(self.map_shape) != backbone.features:
            raise UsageError("algo=relation compares the last feature maps: set backbone.readout=flatten.")
        self.relation = RelationModule(self.map_shape, hidden)

    def fit(self, features: Tensor, labels: Tensor, ways: int) -> Tensor:
        """Each class's map [ways, C H W]: the sum of its examples'."""
        return F.one_hot(labels, ways).to(features.dtype).T @ features

    def score(self, rule: Tensor, features: Tensor) -> Tensor:
        """Relation scores [Q, ways], each in [0, 1] (equation 1)."""
        queries, ways = size(features), len(rule)
        of_class = rule.view(1, ways, *self.map_shape).expand(queries, -1, -1, -1, -1)
        of_query = features.view(queries, 1, *self.map_shape).expand(-1, ways, -1, -1, -1)
        pairs = torch.cat([of_class, of_query], 2).flatten(0, 1)
        scores: Tensor = self.relation(pairs)
        return scores.view(queries, ways)

    def query_loss(self, outputs: Tensor, query: Examples) -> Tensor:
        """Squared error of the scores summed over classes (equation 2), and its mean over queries."""
        same = F.one_hot(query.labels, outputs.shape[1]).to(outputs.dtype)
        return (outputs - same).square().sum(1).mean()
