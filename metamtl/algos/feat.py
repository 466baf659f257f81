"""FEAT: prototypes are adapted to one another by a set-to-set function before queries meet them.

Ye, Hu, Zhan & Sha (2020), Few-Shot Learning via Embedding Adaptation with Set-to-Set Functions, CVPR: pre-training as
a classifier (section 3.3), prototypes through a transformer (section 4.1, equations 5 to 7), and a contrastive term
that draws the examples of a class to their own adapted centre (section 4.2, equation 8). Of the authors' transformer
the dropout is left out, and one rate trains it and the embedding, which they train at a tenth of its rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metamtl.algos.base import Stage
from metamtl.algos.distances import similarity
from metamtl.algos.pretraining import Pretrained
from metamtl.algos.protonet import class_means
from metamtl.data.task import Examples, Task
from metamtl.registry import register


class SetTransformer(nn.Module):
    """One self-attention over a set, its output added to the set and normalised (Vaswani et al. 2017)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(features, features) for _ in range(4))
        self.normalise = nn.LayerNorm(features)

    def forward(self, members: Tensor, together: Tensor | None = None) -> Tensor:
        """Members [N, D] adapted to those that `together` [N, N] lets each attend to; all where it is None."""
        attention = self.query(members) @ self.key(members).T / math.sqrt(members.shape[1])
        if together is not None:
            attention = attention.masked_fill(~together, -math.inf)
        adapted: Tensor = self.normalise(members + self.output(attention.softmax(1) @ self.value(members)))
        return adapted


@register("algo", "feat")
class FEAT(Pretrained):
    """`temperature` divides the squared distances to prototypes, `contrast_temperature` those of the contrastive term.

    The set function takes part from the second stage on.
    """

    stages: Sequence[Stage] = (Stage("pretrain", "minibatches"), Stage("meta", "episodes"))

    def __init__(self, *, temperature: float, contrast: float, contrast_temperature: float, **context: Any) -> None:
        super().__init__(**context)
        self.temperature, self.contrast, self.contrast_temperature = temperature, contrast, contrast_temperature
        self.adapted = SetTransformer(context["backbone"].features)

    def fit(self, features: Tensor, labels: Tensor, ways: int) -> Tensor:
        """Prototypes [ways, D], adapted to one another (equation 4)."""
        prototypes = class_means(features, labels, ways)
        return prototypes if self.stage == "pretrain" else self.adapted(prototypes)

    def score(self, rule: Tensor, features: Tensor) -> Tensor:
        """Logits [Q, ways]."""
        return similarity("euclidean", features, rule) / self.temperature

    def outer_loss(self, task: Task) -> tuple[Tensor, Tensor]:
        """The query loss and, in training, the contrastive term."""
        if not self.training or self.contrast == 0:
            return super().outer_loss(task)
        support, query = self.embedded(task)
        ways = task.support.ways or 0
        outputs = self.scored(self.fitted(support, task.support.labels, ways), query)
        everyone = Examples(torch.cat([support, query]), torch.cat([task.support.labels, task.query.labels]), ways)
        return self.query_loss(outputs, task.query) + self.contrast * self._contrastive(everyone), outputs

    def _contrastive(self, examples: Examples) -> Tensor:
        """Each example's features against the means of the classes, adapted within themselves (equation 8)."""
        labels, features = examples.labels, examples.x
        assert isinstance(features, Tensor)
        within = self.adapted(features, labels.unsqueeze(0) == labels.unsqueeze(1))
        centres = class_means(within, labels, examples.ways or 0)
        return self.family.loss(similarity("euclidean", features, centres) / self.contrast_temperature, examples)
