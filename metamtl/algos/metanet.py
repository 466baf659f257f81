"""MetaNet: weights for a task, made from the gradients of its support set, beside those that are learned slowly.

Munkhdalai & Yu (2017), Meta Networks, ICML, algorithm 1. The meta level: a network makes fast weights Q* of the
embedding u from the gradients of its loss (equations 3 and 4). The base level: another makes fast weights W*_i of the
classifier b from each example's gradient, kept in a memory under the example's embedding (5 to 8); a query takes those
of the examples that it resembles (9 to 11). Layers add what slow and fast weights say (section 3.2). Here u and b are
a fully connected layer each over the run's backbone, which they share and whose weights are slow, and a gradient
is met as a number and not differentiated again, so that the softmax layer over u, which makes gradients and nothing
else, stays as it was drawn. The embedding's loss is one of classes at any number of shots, where the paper takes pairs
and a contrastive loss beyond one. Fast weights lose their mean over a matrix, which the paper's keep: those that are
all negative would end in a dead ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.algos.full_context import LSTMCell
from metamtl.algos.labelled_sequence import SequenceLearner
from metamtl.algos.learned_optimizer import preprocessed
from metamtl.engine.inner import Weights, gradient
from metamtl.registry import register


@dataclass(frozen=True)
class Fast:
    """Q* [H, D]; the memory of embeddings R [S, H] and of W* [S, H, D] and [S, ways, H]."""

    embedding: Tensor
    keys: Tensor
    hidden: Tensor
    output: Tensor


class Branch(nn.Module):
    """A hidden layer under a softmax layer: u for its hidden layer's sake, b for its outputs."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)

    def gradients(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Of each example's own loss, by the weights of both layers: [S, H, D] and [S, outputs, H]."""
        x, hidden, output = features.detach(), self.layer.bias.detach(), self.head.bias.detach()

        def loss(own: Weights) -> Tensor:
            inner = torch.einsum("shd,sd->sh", own["layer"], x) + hidden
            logits = torch.einsum("soh,sh->so", own["head"], inner.relu()) + output
            return -(labels * logits.log_softmax(1)).sum()

        weights = {name: getattr(self, name).weight.expand(len(x), -1, -1) for name in ("layer", "head")}
        found = gradient(loss, weights, "first")
        return found["layer"], found["head"]


class FromGradient(nn.Module):
    """m: fast weights from one example's gradient, the same small network for every weight."""

    def __init__(self, units: int) -> None:
        super().__init__()
        sizes = (nn.Linear(2, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU(), nn.Linear(units, 1))
        self.layers = nn.Sequential(*sizes)

    def forward(self, slopes: Tensor) -> Tensor:
        """Weights of the gradients' own shape (equation 6)."""
        weights: Tensor = self.layers(preprocessed(slopes.flatten().unsqueeze(1)))
        return centred(weights.view(slopes.shape))


class FromSequence(nn.Module):
    """d: fast weights from the gradients of several examples, read one after another by an LSTM for every weight."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units, self.lstm, self.head = units, LSTMCell(2, units, units), nn.Linear(units, 1)

    def forward(self, slopes: Tensor) -> Tensor:
        """Weights [...] from gradients [S, ...] (equation 4)."""
        hidden = cell = slopes.new_zeros(slopes[0].numel(), self.units)
        for one in slopes.unbind():
            hidden, cell = self.lstm(preprocessed(one.flatten().unsqueeze(1)), hidden, cell)
        weights: Tensor = self.head(hidden)
        return centred(weights.view(slopes.shape[1:]))


def centred(weights: Tensor) -> Tensor:
    """Matrices [..., H, D] less their mean: where all are negative, what is never negative ends in a dead ReLU."""
    return weights - weights.mean((-2, -1), keepdim=True)


@register("algo", "metanet")
class MetaNet(SequenceLearner):
    """Layers of `hidden` units; `generator` are the units of the networks that make fast weights.

    The fast weights of the embedding are made from the gradients of `sampled` examples.
    """

    def __init__(self, *, hidden: int, generator: int, sampled: int, **context: Any) -> None:
        super().__init__(**context)
        self.sampled = sampled
        features, ways = context["backbone"].features, self.family.outputs
        self.embedding, self.classifier = (Branch(features, hidden, ways) for _ in range(2))
        self.from_sequence, self.from_gradient = FromSequence(generator), FromGradient(generator)

    def read(self, features: Tensor, labels: Tensor) -> Fast:
        """Fast weights of both levels (algorithm 1, lines 1 to 12)."""
        few = slice(0, None, max(1, len(features) // self.sampled))  # of every class, where these come one by one
        slopes = self.embedding.gradients(features[few], labels[few])[0][: self.sampled]
        embedding = self.from_sequence(slopes)
        hidden, output = (self.from_gradient(slopes) for slopes in self.classifier.gradients(features, labels))
        return Fast(embedding, self.embedded(features, embedding), hidden, output)

    def answer(self, kept: Fast, features: Tensor) -> Tensor:
        """Logits [Q, ways] under the fast weights of the examples that each query resembles (lines 13 to 18)."""
        alike = F.normalize(self.embedded(features, kept.embedding), dim=1) @ F.normalize(kept.keys, dim=1).T
        attention = alike.softmax(1)  # equations 9 and 10
        b = self.classifier
        # a mean of matrices times a vector is the mean of the products
        fast = torch.einsum("qs,shd,qd->qh", attention, kept.hidden, features)
        hidden = b.layer(features).relu() + fast.relu()
        outputs: Tensor = b.head(hidden) + torch.einsum("qs,soh,qh->qo", attention, kept.output, hidden)
        return outputs

    def embedded(self, features: Tensor, fast: Tensor) -> Tensor:
        """R [N, H] of features [N, D], by slow and fast weights (equation 7)."""
        slow: Tensor = self.embedding.layer(features)
        return slow.relu() + (features @ fast.T).relu()
