"""Learners with shared weights: an embedding of single examples, and a rule fitted on the support set's features.

Adapting changes no weight of the network, so a split's features can be computed once and any number of episodes
tested on them (`metamtl.evaluation.features`).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.algos.base import Learner
from metamtl.backbones.norm import NormKind, Statistics
from metamtl.data.tagging import Tagging
from metamtl.data.task import Examples, Task, Tensors, at_least_single, joined, size
from metamtl.engine.network import Network
from metamtl.errors import UsageError


def members(labels: Tensor, ways: int) -> Tensor:
    """Rows [N, ways], 1 at the class of labels [N]; a label of -1 is of no class."""
    return F.one_hot(labels.clamp(min=0), ways) * (labels >= 0).unsqueeze(1)


@dataclass
class Fitted:
    """What was fitted, and the support set's statistics where its queries are normalised by them."""

    rule: Any
    statistics: list[Statistics] | None


class EmbeddingLearner(Learner):
    """`fit` and `score` see features [N, D] only.

    Where a family labels words, these are the features of words, and labels of -1 are of no class: `labels_words` says
    whether a rule knows that. `labels_numbers` says whether it knows labels [S, targets] that are numbers to predict.
    """

    labels_words: ClassVar[bool] = False
    labels_numbers: ClassVar[bool] = False
    learns_ways = False

    def __init__(self, **context: Any) -> None:
        family, name = context["family"], self.option()
        if isinstance(family, Tagging) and not self.labels_words:
            raise UsageError(f"algo={name} compares whole examples, not words: take protonet, baseline or maml.")
        if family.targets and not self.labels_numbers:
            raise UsageError(
                f"algo={name} tells classes apart; {family.name} has no classes but numbers to predict: take algo=maml "
                "or cnp, on ordinary labelled examples joint."
            )
        super().__init__(**context)

    def build_network(self, backbone: nn.Module, norm: NormKind) -> Network:
        """The backbone without a head: features are compared."""
        return Network(backbone, None, norm)

    @abstractmethod
    def fit(self, features: Tensor, labels: Tensor, ways: int) -> Any:
        """A rule from the support set's features [S, D] and labels [S]."""

    @abstractmethod
    def score(self, rule: Any, features: Tensor) -> Tensor:
        """Outputs [Q, ways] of features [Q, D]."""

    def fitted(self, features: Tensor, labels: Tensor, ways: int) -> Any:
        """`fit` in single precision or better, whatever the network ran in; words are examples one after another."""
        with torch.autocast(features.device.type, enabled=False):
            leading = features.dim() - 2  # of examples, or of examples and their words
            return self.fit(at_least_single(features).flatten(0, leading), labels.flatten(0, leading), ways)

    def scored(self, rule: Any, features: Tensor) -> Tensor:
        """`score` in single precision or better, whatever the network ran in."""
        with torch.autocast(features.device.type, enabled=False):
            outputs = self.score(rule, at_least_single(features).flatten(0, -2))
            return outputs.view(*features.shape[:-1], *outputs.shape[1:])

    def adapt(self, support: Examples) -> Fitted:
        """The rule fitted on the embedded support set."""
        features = self.network.support(support.x, head=False)
        rule = self.fitted(features, support.labels, support.ways or 0)
        return Fitted(rule, self.network.support_statistics(support.x))

    def predict(self, state: Fitted, x: Tensors) -> Tensor:
        """The rule's outputs on the embedded queries."""
        return self.scored(state.rule, self.network.query(x, statistics=state.statistics, head=False))

    def outer_loss(self, task: Task) -> tuple[Tensor, Tensor]:
        """The loss of the queries' outputs."""
        support, query = self.embedded(task)
        rule = self.fitted(support, task.support.labels, task.support.ways or 0)
        outputs = self.scored(rule, query)
        return self.query_loss(outputs, task.query), outputs

    def embedded(self, task: Task) -> tuple[Tensor, Tensor]:
        """Features [S, D] and [Q, D]; trained with running averages, in one pass, as both are at test."""
        support, query = task.support.x, task.query.x
        if self.training and self.network.norm == "running":
            features = self.network.query(joined(support, query), head=False)
            return features[: size(support)], features[size(support) :]
        of_support = self.network.support(support, head=False)
        statistics = self.network.support_statistics(support)  # after it, in the order of `adapt`: passes draw noise
        return of_support, self.network.query(query, statistics=statistics, head=False)

    def query_loss(self, outputs: Tensor, query: Examples) -> Tensor:
        """The loss [] of outputs [Q, ways]: the family's, unless a method has one of its own."""
        return self.family.loss(outputs, query)
