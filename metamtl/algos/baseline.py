"""Baseline: supervised pre-training on all meta-train classes, then a new linear head for every task.

Chen et al. (2019), A Closer Look at Few-shot Classification, ICLR, section 3.1. The head of a task is trained by SGD
with momentum (and dampening, as the authors' code has it) on the frozen features of its support set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.base import Stage
from metamtl.algos.embedding import members
from metamtl.algos.pretraining import Pretrained
from metamtl.data.random import permutation
from metamtl.registry import register


def known(targets: Tensor) -> Tensor:
    """How many [] of the examples with targets [B, ways] are of a class; 1 where none is, to divide by."""
    return targets.sum().clamp(min=1)


@register("algo", "baseline")
class Baseline(Pretrained):
    """Trained on minibatches; `fit` trains a task's head for `head_epochs` passes over its support set."""

    labels_words = True
    stages: Sequence[Stage] = (Stage("pretrain", "minibatches"),)

    def __init__(
        self,
        *,
        head_epochs: int,
        head_batch: int,
        head_lr: float,
        head_momentum: float,
        head_dampening: float,
        head_weight_decay: float,
        **context: Any,
    ) -> None:
        super().__init__(**context)
        self.head_epochs, self.head_batch, self.head_lr = head_epochs, head_batch, head_lr
        self.head_momentum, self.head_dampening = head_momentum, head_dampening
        self.head_weight_decay = head_weight_decay

    def fit(self, features: Tensor, labels: Tensor, ways: int) -> Tensor:
        """A head, one row a way, trained on features [S, D]."""
        targets = members(labels, ways).to(features.dtype)
        head = self.first_head(features, targets)
        velocity = torch.zeros_like(head)
        for step, chosen in enumerate(self._batches(len(features))):
            slope = self.slope(head, features[chosen], targets[chosen]) + self.head_weight_decay * head
            velocity = slope if step == 0 else self.head_momentum * velocity + (1 - self.head_dampening) * slope
            head = head - self.head_lr * velocity
        return head

    def first_head(self, features: Tensor, targets: Tensor) -> Tensor:
        """The head [ways, D + 1] before its first step, its last column the bias; zeros prefer no way."""
        return features.new_zeros(targets.shape[1], features.shape[1] + 1)

    def slope(self, head: Tensor, features: Tensor, targets: Tensor) -> Tensor:
        """The gradient of the mean cross-entropy on features [B, D] and targets [B, ways], in closed form."""
        return self.error(head, features, targets).T @ F.pad(features, (0, 1), value=1.0) / known(targets)

    def error(self, head: Tensor, features: Tensor, targets: Tensor) -> Tensor:
        """The gradient [B, ways] of the summed cross-entropy by the logits; zero for examples of no class."""
        return (self.score(head, features).softmax(1) - targets) * targets.sum(1, keepdim=True)

    def score(self, rule: Tensor, features: Tensor) -> Tensor:
        """Logits [Q, ways]."""
        return F.pad(features, (0, 1), value=1.0) @ rule.T

    def _batches(self, examples: int) -> list[Tensor]:
        # one order for every task: labels are permuted per task and support examples drawn at random already; not
        # torch's, as vmap allows no random calls
        orders = (torch.from_numpy(permutation(examples, 0, epoch)) for epoch in range(self.head_epochs))
        return [batch for order in orders for batch in torch.split(order, self.head_batch)]
