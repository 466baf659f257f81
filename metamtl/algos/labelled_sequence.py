"""Learners that read the support set as a sequence of examples with their labels, in an order that means nothing.

The order is drawn by hashing the task's number, so that the sequence is the same however and wherever the task is run.
`adapt`, which is given no number, reads the support set in the order that it has.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.algos.base import Learner
from metamtl.algos.embedding import Fitted
from metamtl.backbones.noise import mix, uniform
from metamtl.backbones.norm import NormKind
from metamtl.data.family import Classification
from metamtl.data.task import Examples, Task, Tensors, at_least_single, size
from metamtl.engine.network import Network
from metamtl.errors import UsageError

_ORDER = 0x0DE5  # keys the order, apart from what else is hashed from a task's number


class SequenceLearner(Learner):
    """`read` and `answer` see features [N, D] and one-hot labels [N, family.outputs] only."""

    def build_network(self, backbone: nn.Module, norm: NormKind) -> Network:
        """The backbone without a head; UsageError where labels are no classes."""
        if not isinstance(self.family, Classification):
            raise UsageError(f"algo={self.option()} reads labels as classes; for regression use algo=cnp or algo=maml.")
        return Network(backbone, None, norm)

    @abstractmethod
    def read(self, features: Tensor, labels: Tensor) -> Any:
        """What is kept of a support set's features [S, D] and one-hot labels [S, family.outputs]."""

    @abstractmethod
    def answer(self, kept: Any, features: Tensor) -> Tensor:
        """Outputs [Q, family.outputs] of queries' features [Q, D], each alone."""

    def adapt(self, support: Examples) -> Fitted:
        """What is kept of the support set, read in its order, in single precision or better."""
        features = self.network.support(support.x, head=False)
        with torch.autocast(features.device.type, enabled=False):
            features = at_least_single(features)
            kept = self.read(features, F.one_hot(support.labels, self.family.outputs).to(features.dtype))
        return Fitted(kept, self.network.support_statistics(support.x))

    def predict(self, state: Fitted, x: Tensors) -> Tensor:
        """Outputs of the queries [Q, ...]."""
        features = self.network.query(x, statistics=state.statistics, head=False)
        with torch.autocast(features.device.type, enabled=False):
            return self.answer(state.rule, at_least_single(features))

    def outer_loss(self, task: Task) -> tuple[Tensor, Tensor]:
        """The loss of the queries' outputs after the support set in an order of its own."""
        outputs = self.predict(self.adapt(in_order(task.support, task.number)), task.query.x)
        return self.family.loss(outputs, task.query), outputs


def in_order(examples: Examples, number: Tensor) -> Examples:
    """The examples in the order that a task's number [] gives them."""
    places = order_of(size(examples.x), number)
    return examples.map(lambda values: values[places])


def order_of(count: int, number: Tensor) -> Tensor:
    """The order [count] that a task's number [] gives to so many examples."""
    return uniform(mix(number, _ORDER), torch.Size((count,)), torch.float64).argsort(stable=True)
