"""Matching networks: a query's label is that of the support examples that it attends to.

Vinyals, Blundell, Lillicrap, Kavukcuoglu & Wierstra (2016), Matching Networks for One Shot Learning, NeurIPS: equation
1 with the attention of section 2.1.1, over cosines or, which trains more reliably, negative squared Euclidean
distances; `full_context` embeds the examples in the context of the whole support set (section 2.1.2, appendix A).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.distances import Distance, similarity
from metamtl.algos.embedding import EmbeddingLearner
from metamtl.algos.full_context import FullContext
from metamtl.registry import register


@register("algo", "matching")
class MatchingNet(EmbeddingLearner):
    """Attention over the support set, sharpened by `scale`; `read_steps` are those of a query's full context."""

    def __init__(
        self, *, distance: Distance, scale: float, full_context: bool, read_steps: int, **context: Any
    ) -> None:
        super().__init__(**context)
        self.distance, self.scale = distance, scale
        features: int = context["backbone"].features
        self.context = FullContext(features, read_steps) if full_context else None

    def fit(self, features: Tensor, labels: Tensor, ways: int) -> tuple[Tensor, Tensor]:
        """The embedded support set g [S, D] and its one-hot labels [S, ways]."""
        embedded = self.context.support(features) if self.context else features
        return embedded, F.one_hot(labels, ways).to(features.dtype)

    def score(self, rule: tuple[Tensor, Tensor], features: Tensor) -> Tensor:
        """Log-probabilities [Q, ways] of the labels: log sum_i a(x, x_i) y_i (equation 1)."""
        support, labels = rule
        embedded = self.context.queries(features, support) if self.context else features
        attention = (self.scale * similarity(self.distance, embedded, support)).log_softmax(1)
        of_class = attention.unsqueeze(2) + labels.log()  # [Q, S, ways], minus infinity for other classes
        return torch.logsumexp(of_class, 1)
