"""Nearest centroid on raw inputs: what a task gives away with nothing learnt.

ProtoNet's rule (Snell, Swersky & Zemel 2017, equations 1 and 2) without an embedding. There are no weights, so there is
no stage to train; the backbone takes no part.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from metamtl.algos.base import Stage
from metamtl.algos.distances import similarity
from metamtl.algos.embedding import EmbeddingLearner
from metamtl.algos.protonet import class_means
from metamtl.backbones.norm import NormKind
from metamtl.engine.network import Network
from metamtl.registry import register


@register("algo", "centroid")
class Centroid(EmbeddingLearner):
    """Features are the inputs, flattened."""

    stages: Sequence[Stage] = ()

    def build_network(self, backbone: nn.Module, norm: NormKind) -> Network:
        """No weights and nothing to normalise."""
        return Network(nn.Flatten(), None, "none")

    def fit(self, features: Tensor, labels: Tensor, ways: int) -> Tensor:
        """Class means [ways, D]."""
        return class_means(features, labels, ways)

    def score(self, rule: Tensor, features: Tensor) -> Tensor:
        """Logits [Q, ways]: the negative squared distances."""
        return similarity("euclidean", features, rule)
