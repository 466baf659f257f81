"""LEO: inner steps in a low-dimensional space of codes, from which a task's classifier is decoded.

Rusu, Rao, Sygnowski, Vinyals, Pascanu, Osindero & Hadsell (2019), Meta-Learning with Latent Embedding Optimization,
ICLR, algorithm 1. A relation network over pairs of support examples gives each class a distribution of codes
(equations 1 and 2), a decoder turns a code into the class's weights (equations 3 and 4, here their mean alone), and
gradient steps change the codes, then the weights. The paper works on features of a fixed, pre-trained network; here
they are learned jointly, and the dropout and the L2 penalty of the paper's search are left out. Features have unit
length: a step's curvature grows with their square, so that rates which serve one network would throw the codes of
another far off (measured). Codes are drawn in training, and the means of their distributions are taken at test.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.algos.embedding import EmbeddingLearner
from metamtl.algos.protonet import class_means
from metamtl.backbones.noise import mix, uniform
from metamtl.data.task import Task, at_least_single
from metamtl.registry import register

_CODES = 0x0DE6  # keys the codes, apart from what else is hashed from a task's key


class Found(NamedTuple):
    """Class weights [ways, D], the codes [ways, K] that they came from, and the distribution of the first codes."""

    weights: Tensor
    first: Tensor
    last: Tensor
    mean: Tensor
    log_deviation: Tensor


@register("algo", "leo")
class LEO(EmbeddingLearner):
    """Softmax over the products of features with decoded weights."""

    def __init__(
        self,
        *,
        code: int,
        code_steps: int,
        code_lr: float,
        weight_steps: int,
        weight_lr: float,
        divergence: float,
        code_penalty: float,
        orthogonality: float,
        **context: Any,
    ) -> None:
        super().__init__(**context)
        features = self.network.backbone.features
        assert isinstance(features, int)
        self.code_steps, self.weight_steps = code_steps, weight_steps
        self.divergence, self.code_penalty, self.orthogonality = divergence, code_penalty, orthogonality
        self.encoder = nn.Linear(features, code, bias=False)
        self.relation = nn.Sequential(
            nn.Linear(2 * code, 2 * code),
            nn.ReLU(),
            nn.Linear(2 * code, 2 * code),
            nn.ReLU(),
            nn.Linear(2 * code, 2 * code),
        )
        self.decoder = nn.Linear(code, features, bias=False)
        self.code_lr, self.weight_lr = nn.Parameter(torch.tensor(code_lr)), nn.Parameter(torch.tensor(weight_lr))

    def fit(self, features: Tensor, labels: Tensor, ways: int) -> Tensor:
        """The weights [ways, D] of a task's classes, from the means of their codes."""
        return self.solve(features, labels, ways, None).weights

    def score(self, rule: Tensor, features: Tensor) -> Tensor:
        """Logits [Q, ways]."""
        return F.normalize(features, dim=1) @ rule.T

    def solve(self, features: Tensor, labels: Tensor, ways: int, noise: Tensor | None) -> Found:
        """Algorithm 1, lines 5 to 11; `noise` is the key that codes are drawn with."""
        features = F.normalize(features, dim=1)
        mean, log_deviation = self.encode(features, labels, ways)
        first = mean if noise is None else mean + log_deviation.exp() * normal(noise, mean)

        def loss(weights: Tensor) -> Tensor:
            return F.cross_entropy(features @ weights.T, labels)

        codes = first
        for _ in range(self.code_steps):
            codes = codes - self.code_lr * torch.func.grad(lambda z: loss(self.decoder(z)))(codes)
        weights = self.decoder(codes)
        for _ in range(self.weight_steps):
            weights = weights - self.weight_lr * torch.func.grad(loss)(weights)
        return Found(weights, first, codes, mean, log_deviation)

    def encode(self, features: Tensor, labels: Tensor, ways: int) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation [ways, K] of the codes, from all pairs of examples (equation 1)."""
        hidden = self.encoder(features)
        count = len(hidden)
        pairs = torch.cat([hidden.unsqueeze(1).expand(-1, count, -1), hidden.unsqueeze(0).expand(count, -1, -1)], 2)
        mean, log_deviation = class_means(self.relation(pairs).mean(1), labels, ways).chunk(2, 1)
        return mean, log_deviation

    def outer_loss(self, task: Task) -> tuple[Tensor, Tensor]:
        """The query loss and, in training, its three penalties (equation 6)."""
        if not self.training:
            return super().outer_loss(task)
        support, query = (at_least_single(features) for features in self.embedded(task))
        noise = None if self.network.noise is None else mix(self.network.noise, _CODES)
        found = self.solve(support, task.support.labels, task.support.ways or 0, noise)
        outputs = self.score(found.weights, query)
        divergence = (found.mean.square() + (2 * found.log_deviation).exp() - 1).mean() / 2 - found.log_deviation.mean()
        # the encoder is drawn to codes that need no steps
        apart = (found.last.detach() - found.first).square().mean()
        penalties = self.divergence * divergence + self.code_penalty * apart + self.orthogonality * self.correlation()
        return self.family.loss(outputs, task.query) + penalties, outputs

    def correlation(self) -> Tensor:
        """How far the decoder's columns are from orthogonal: the mean square of their cosines' matrix less I."""
        columns = F.normalize(self.decoder.weight, dim=0)
        return (
            (columns.T @ columns - torch.eye(columns.shape[1], dtype=columns.dtype, device=columns.device))
            .square()
            .mean()
        )


def normal(noise: Tensor, like: Tensor) -> Tensor:
    """Standard normal numbers of the shape of `like` from a key (Box & Muller 1958)."""
    radius, angle = (uniform(mix(noise, number), like.shape, like.dtype) for number in (1, 2))
    return (-2 * (1 - radius).log()).sqrt() * (2 * math.pi * angle).cos()
