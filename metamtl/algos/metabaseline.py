"""Meta-Baseline: pre-training as a classifier, then meta-learning of cosines to class means.

Chen, Liu, Xu, Darrell & Wang (2021), Meta-Baseline: Exploring Simple Meta-Learning for Few-Shot Learning, ICCV,
sections 3.2 and 3.3: the classifier's last layer is dropped, and a query's logits are its cosines with the class means
times a learned scale (equations 1 and 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metamtl.algos.base import Stage
from metamtl.algos.distances import similarity
from metamtl.algos.pretraining import Pretrained
from metamtl.algos.protonet import class_means
from metamtl.registry import register


@register("algo", "metabaseline")
class MetaBaseline(Pretrained):
    """`scale` is the learned scale's first value."""

    labels_words = True
    stages: Sequence[Stage] = (Stage("pretrain", "minibatches"), Stage("meta", "episodes"))

    def __init__(self, *, scale: float, **context: Any) -> None:
        super().__init__(**context)
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    def fit(self, features: Tensor, labels: Tensor, ways: int) -> Tensor:
        """Class means [ways, D]."""
        return class_means(features, labels, ways)

    def score(self, rule: Tensor, features: Tensor) -> Tensor:
        """Logits [Q, ways]."""
        return self.scale * similarity("cosine", features, rule)
