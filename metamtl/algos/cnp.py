"""Conditional neural processes: the mean of the context's embeddings, and a network that predicts from it.

Garnelo, Rosenbaum, Maddison, Ramalho, Saxton, Shanahan, Teh, Rezende & Eslami (2018), Conditional Neural Processes,
ICML: r_i = h(x_i, y_i) (equation 1), r their mean (equation 2), phi = g(x, r) (equation 3). For regression phi are the
mean and deviation of a Gaussian, trained by its likelihood (equation 4). For classification the aggregation is class by
class (section 4.3); where the authors give g all classes' r in a row, here the same g scores one class after another
from its own r and the mean of all, so that the order and number of classes mean nothing.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

from metamtl.algos.embedding import EmbeddingLearner
from metamtl.algos.protonet import class_means
from metamtl.data.task import Task, size
from metamtl.registry import register

_LEAST_DEVIATION = 0.1  # of the Gaussian, as the authors' code has it


@register("algo", "cnp")
class CNP(EmbeddingLearner):
    """`h` and `g` have two hidden layers of `hidden`, and r has `context` numbers; x are the backbone's features."""

    labels_numbers = True

    def __init__(self, *, context: int, hidden: int, **others: Any) -> None:
        super().__init__(**others)
        features: int = others["backbone"].features
        self.targets = self.family.targets
        if self.targets:
            self.encoder = _layers(features + self.targets, hidden, context)
            self.decoder = _layers(features + context, hidden, 2 * self.targets)
        else:
            self.encoder = _layers(features, hidden, context)
            self.decoder = _layers(features + 2 * context, hidden, 1)

    def fit(self, features: Tensor, labels: Tensor, ways: int) -> Tensor:
        """R [context] of points, or that of each class [ways, context] (equations 1 and 2)."""
        if self.targets:
            embedded: Tensor = self.encoder(torch.cat([features, labels], 1))
            return embedded.mean(0)
        return class_means(self.encoder(features), labels, ways)

    def score(self, rule: Tensor, features: Tensor) -> Tensor:
        """The Gaussian's mean [Q, targets], or logits [Q, ways] (equation 3)."""
        if self.targets:
            return self.gaussian(rule, features).mean
        ways, queries = len(rule), size(features)
        of_class = torch.cat([rule, rule.mean(0, keepdim=True).expand(ways, -1)], 1)
        pairs = [features.unsqueeze(1).expand(-1, ways, -1), of_class.unsqueeze(0).expand(queries, -1, -1)]
        scores: Tensor = self.decoder(torch.cat(pairs, 2))
        return scores.squeeze(2)

    def gaussian(self, rule: Tensor, features: Tensor) -> Normal:
        """Of the targets [Q, targets], given r."""
        found = self.decoder(torch.cat([features, rule.expand(size(features), -1)], 1))
        mean, spread = found.chunk(2, 1)
        deviation = _LEAST_DEVIATION + (1 - _LEAST_DEVIATION) * F.softplus(spread)
        return Normal(mean, deviation, validate_args=False)

    def outer_loss(self, task: Task) -> tuple[Tensor, Tensor]:
        """Minus the mean log-likelihood of all targets, the context's among them (equation 4), and the queries' means.

        Else the family's loss.
        """
        if not self.targets:
            return super().outer_loss(task)
        support, query = self.embedded(task)
        rule = self.fitted(support, task.support.labels, 0)
        found = self.gaussian(rule, torch.cat([support, query]))
        likelihood: Tensor = found.log_prob(  # type: ignore[no-untyped-call]
            torch.cat([task.support.labels, task.query.labels])
        )
        return -likelihood.mean(), found.mean[size(support) :]


def _layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )
