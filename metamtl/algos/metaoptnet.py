"""MetaOptNet: an embedding under a linear classifier that is the solution of a convex problem.

Lee, Maji, Ravichandran & Soatto (2019), Meta-Learning with Differentiable Convex Optimization, CVPR: a multi-class
support vector machine by its dual (section 3.2, equations 6 to 9), or the ridge regression of section 4, and logits
times a learned scale (equation 12).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.algos.embedding import EmbeddingLearner
from metamtl.algos.heads.ridge import ridge
from metamtl.algos.heads.svm import crammer_singer
from metamtl.registry import register


@register("algo", "metaoptnet")
class MetaOptNet(EmbeddingLearner):
    """A support vector machine of slack cost `cost`, or ridge regression of `penalty`; `scale` is where it starts."""

    def __init__(
        self, *, head: Literal["svm", "ridge"], cost: float, penalty: float, scale: float, **context: Any
    ) -> None:
        super().__init__(**context)
        self.head, self.cost, self.penalty = head, cost, penalty
        self.scale = nn.Parameter(torch.tensor(scale))

    def fit(self, features: Tensor, labels: Tensor, ways: int) -> Tensor:
        """Weights [D, ways]."""
        targets = F.one_hot(labels, ways).to(features.dtype)
        if self.head == "ridge":
            return ridge(features, targets, features.new_tensor(self.penalty))
        return features.T @ crammer_singer(features @ features.T, targets, self.cost)

    def score(self, rule: Tensor, features: Tensor) -> Tensor:
        """Logits [Q, ways]."""
        return self.scale * (features @ rule)
