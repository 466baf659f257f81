"""Siamese networks: twins that learn to verify whether two examples share a class, and then compare.

Koch, Zemel & Salakhutdinov (2015), Siamese Neural Networks for One-shot Image Recognition, ICML deep learning workshop:
p = sigmoid(sum_j alpha_j |h1_j - h2_j|) over the sigmoid units h of the twins' last layer (section 3.1), trained by
cross-entropy on pairs of the same class and of different ones (section 3.2), which may be distorted (section 3.3).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from metamtl.algos.base import Stage
from metamtl.algos.embedding import EmbeddingLearner
from metamtl.algos.protonet import class_means
from metamtl.data.task import Examples, at_least_single, joined
from metamtl.registry import register


@register("algo", "siamese")
class Siamese(EmbeddingLearner):
    """A query is of the class whose examples it most resembles, by the mean of their logits; `units` are the twins'."""

    def __init__(self, *, units: int, distortion: bool, **context: Any) -> None:
        super().__init__(**context)
        self.stages = (Stage("pairs", "pairs", distorted=distortion),)
        self.twin = nn.Linear(context["backbone"].features, units)
        self.alpha = nn.Linear(units, 1)
        # equal twins start as one class and every difference speaks against it: from a start that has no such side,
        # hundreds of updates go by before pairs are told apart
        with torch.no_grad():
            self.alpha.weight.copy_(-self.alpha.weight.abs())
            self.alpha.bias.fill_(1.0)

    def minibatch_loss(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Cross-entropy of pairs, x named `first` and `second`; outputs [B, 2]: logits of different and of same."""
        assert isinstance(examples.x, dict)
        features = at_least_single(self.network.query(joined(examples.x["first"], examples.x["second"]), head=False))
        first, second = self._units(features).chunk(2)
        same = self.alpha((first - second).abs())
        outputs = torch.cat([torch.zeros_like(same), same], 1)
        return self.family.loss(outputs, examples), outputs

    def fit(self, features: Tensor, labels: Tensor, ways: int) -> tuple[Tensor, Tensor]:
        """The support set's units [S, U], and the share [S, ways] of each example in its class."""
        share = class_means(torch.eye(len(labels), dtype=features.dtype, device=features.device), labels, ways)
        return self._units(features), share.T

    def score(self, rule: tuple[Tensor, Tensor], features: Tensor) -> Tensor:
        """Logits [Q, ways]: the mean over a class's examples of the logit that query and example are the same."""
        units, share = rule
        apart = (self._units(features).unsqueeze(1) - units.unsqueeze(0)).abs()  # [Q, S, U]
        same: Tensor = self.alpha(apart).squeeze(2)
        return same @ share

    def _units(self, features: Tensor) -> Tensor:
        units: Tensor = self.twin(features)
        return units.sigmoid()
