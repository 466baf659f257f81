"""Baseline: supervised pre-training on all meta-train classes, then a new linear head for every task.

Chen et al. (2019), A Closer Look at Few-shot Classification, ICLR, section 3.1. The head of a task is trained by SGD
with momentum (and dampening, as the authors' code has it) on the frozen features of its support set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.algos.base import Stage
from metamtl.algos.embedding import EmbeddingLearner
from metamtl.backbones.norm import NormKind
from metamtl.data.random import permutation
from metamtl.data.task import Examples
from metamtl.engine.network import Network
from metamtl.errors import UsageError
from metamtl.registry import register


@register("algo", "baseline")
class Baseline(EmbeddingLearner):
    """Trained on minibatches; `fit` trains a task's head for `head_epochs` passes over its support set."""

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

    def build_network(self, backbone: nn.Module, norm: NormKind) -> Network:
        """The backbone under a classifier of all meta-train classes."""
        if self.family.classes == 0:
            raise UsageError("algo=baseline pre-trains a classifier; this data has no classes: use algo=maml.")
        return Network(backbone, nn.Linear(backbone.features, self.family.classes), norm)  # type: ignore[arg-type]

    def minibatch_loss(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Cross-entropy over all meta-train classes, as supervised training has it."""
        outputs = self.network.query(examples.x)
        return self.family.loss(outputs, examples), outputs

    def fit(self, features: Tensor, labels: Tensor, ways: int) -> Tensor:
        """A linear head [ways, D + 1] (the last column is the bias) trained on features [S, D]."""
        x = F.pad(features, (0, 1), value=1.0)
        targets = F.one_hot(labels, ways).to(x.dtype)
        head = torch.zeros(ways, x.shape[1], dtype=x.dtype, device=x.device)
        velocity = torch.zeros_like(head)
        for step, chosen in enumerate(self._batches(len(x))):
            # the softmax's cross-entropy has this gradient in closed form
            error = (x[chosen] @ head.T).softmax(1) - targets[chosen]
            slope = error.T @ x[chosen] / len(chosen) + self.head_weight_decay * head
            velocity = slope if step == 0 else self.head_momentum * velocity + (1 - self.head_dampening) * slope
            head = head - self.head_lr * velocity
        return head

    def score(self, rule: Tensor, features: Tensor) -> Tensor:
        """Logits [Q, ways]."""
        return F.pad(features, (0, 1), value=1.0) @ rule.T

    def _batches(self, examples: int) -> list[Tensor]:
        # one order for every task: labels are permuted per task and support examples drawn at random already; not
        # torch's, as vmap allows no random calls
        orders = (torch.from_numpy(permutation(examples, 0, epoch)) for epoch in range(self.head_epochs))
        return [batch for order in orders for batch in torch.split(order, self.head_batch)]
