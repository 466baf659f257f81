"""La-MAML: learning in sequence, by a learning rate of each weight that is itself learnt on what is to be kept.

Gupta, Yadav & Paull (2020), La-MAML: Look-ahead Meta Learning for Continual Learning, NeurIPS, algorithm 1: a minibatch
is learnt in a few inner steps theta' = theta - alpha g on parts of it; the loss of theta' on the minibatch and on kept
examples (`transfer=replay`) moves alpha, and moves theta at the rates max(0, alpha). Both move by one gradient here;
the paper's theta already takes the new alpha. For plain gradient descent at rate 1 (trainer.optimizer).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from metamtl.algos.base import Learner, Stage
from metamtl.data.task import Examples, Tensors, size
from metamtl.engine.inner import Order, Weights, gradient
from metamtl.registry import register


@register("algo", "lamaml")
class LaMAML(Learner):
    """`inner_lr` is alpha at first and `rate_lr` the learning rate of alpha itself."""

    stages: Sequence[Stage] = (Stage("online", "minibatches"),)
    adapts = False
    conditional = False  # its outer update is at the rates that belong to the network's own weights

    def __init__(self, *, inner_lr: float, rate_lr: float, inner_steps: int, order: Order, **context: Any) -> None:
        super().__init__(**context)
        self.rate_lr, self.inner_steps, self.order = rate_lr, inner_steps, order
        self.rates = nn.ParameterList(torch.full_like(w, inner_lr) for w in self.network.adaptable.values())
        self._fast: Weights = {}

    def adapt(self, support: Examples) -> None:
        """Nothing: what was learnt is in the weights."""

    def predict(self, state: None, x: Tensors) -> Tensor:
        """Outputs [N, ...] of examples x [N, ...]."""
        return self.network.query(x)

    def minibatch_loss(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """The loss [] of the minibatch after its inner steps, and the outputs."""
        rates = {name: moved_at(alpha, self.rate_lr) for name, alpha in self._named_rates().items()}
        fast = {name: moved_at(w, rates[name].detach().clamp(min=0)) for name, w in self.network.adaptable.items()}
        for part in _parts(examples, self.inner_steps):
            slopes = gradient(lambda weights, part=part: self._loss(weights, part), fast, self.order)  # type: ignore[misc]
            fast = {name: weight - rates[name] * slopes[name] for name, weight in fast.items()}
        self._fast = fast
        outputs = self.network.query(examples.x, fast)
        return self.family.loss(outputs, examples), outputs

    def outer_weights(self) -> Mapping[str, Tensor]:
        """Kept examples are met by the fast weights too (algorithm 1, line 10)."""
        return self._fast

    def _loss(self, weights: Weights, part: Examples) -> Tensor:
        return self.family.loss(self.network.support(part.x, weights), part)

    def _named_rates(self) -> dict[str, Tensor]:
        return dict(zip(self.network.adaptable, self.rates, strict=True))


def moved_at(values: Tensor, rate: Tensor | float) -> Tensor:
    """The values as they are, whose gradient is multiplied by `rate`."""
    return values + (rate - 1) * (values - values.detach())


def _parts(examples: Examples, count: int) -> list[Examples]:
    """The examples in `count` parts of nearly one size, in their order; fewer where there are fewer examples."""
    bounds = [round(size(examples.x) * number / count) for number in range(count + 1)]
    pairs = [(low, high) for low, high in pairwise(bounds) if high > low]
    return [examples.map(lambda tensor, low=low, high=high: tensor[low:high]) for low, high in pairs]  # type: ignore[misc]
