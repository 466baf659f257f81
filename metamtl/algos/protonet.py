"""Prototypical networks: the nearest class mean in feature space wins.

Snell, Swersky & Zemel (2017), Prototypical Networks for Few-shot Learning, NeurIPS, equations 1 and 2, with the
squared Euclidean distance; `distance=cosine` is the variant that section 2.6 compares with.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from metamtl.algos.distances import Distance, similarity
from metamtl.algos.embedding import EmbeddingLearner, members
from metamtl.registry import register


def class_means(features: Tensor, labels: Tensor, ways: int) -> Tensor:
    """Mean feature [ways, D] of each class of features [N, D]; a label of -1 is of no class."""
    of_class = members(labels, ways).to(features.dtype)
    return (of_class.T @ features) / of_class.sum(0).unsqueeze(1)


@register("algo", "protonet")
class ProtoNet(EmbeddingLearner):
    """Softmax over negative distances to prototypes, times `scale`."""

    labels_words = True

    def __init__(self, *, distance: Distance, scale: float, **context: Any) -> None:
        super().__init__(**context)
        self.distance, self.scale = distance, scale

    def fit(self, features: Tensor, labels: Tensor, ways: int) -> Tensor:
        """Prototypes [ways, D] (equation 1)."""
        return class_means(features, labels, ways)

    def score(self, rule: Tensor, features: Tensor) -> Tensor:
        """Logits [Q, ways] (equation 2)."""
        return self.scale * similarity(self.distance, features, rule)
