"""MAML: initial weights from which a few gradient steps learn a task.

Finn, Abbeel & Levine (2017), Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, ICML, algorithm 2:
theta' = theta - alpha grad L(theta; support), and the outer update lowers L(theta'; query). The inner loss is a mean
over the support set; the authors' code sums over ways, so its rate 0.4 (5 ways) is 2.0 here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from metamtl.algos.base import Learner
from metamtl.backbones.norm import Statistics
from metamtl.data.task import Examples, Tensors
from metamtl.engine.inner import Order, Weights, gradient
from metamtl.registry import register

Layers = Literal["all", "head", "body"]


@dataclass
class Adapted:
    """The fast weights of a task, and its support set's statistics where its queries are normalised by them."""

    weights: Weights
    statistics: list[Statistics] | None


@register("algo", "maml")
class MAML(Learner):
    """Gradient descent on the support set; `adapt_layers` says on which layers."""

    def __init__(
        self,
        *,
        inner_lr: float,
        inner_steps: int,
        test_lr: float | None,
        test_steps: int | None,
        order: Order,
        adapt: Layers,
        **context: Any,
    ) -> None:
        super().__init__(**context)
        self.inner_lr, self.inner_steps = inner_lr, inner_steps
        self.test_lr = inner_lr if test_lr is None else test_lr
        self.test_steps = inner_steps if test_steps is None else test_steps
        self.order, self.adapt_layers = order, adapt

    def adapt(self, support: Examples) -> Adapted:
        """Fast weights after the inner steps of this phase."""
        weights = self.descend(lambda fast: self.family.loss(self.network.support(support.x, fast), support))
        return Adapted(weights, self.network.support_statistics(support.x, weights))

    def predict(self, state: Adapted, x: Tensors) -> Tensor:
        """Outputs of the adapted network."""
        return self.network.query(x, state.weights, state.statistics)

    def descend(self, loss: Callable[[Weights], Tensor]) -> Weights:
        """Gradient steps on an inner loss from the meta-learned weights (algorithm 2, lines 5-7)."""
        rate, steps = (self.inner_lr, self.inner_steps) if self.training else (self.test_lr, self.test_steps)
        weights = self.initial_weights()
        for _ in range(steps):
            gradients = gradient(loss, weights, self.order)
            weights = {name: weight - rate * gradients[name] for name, weight in weights.items()}
        return weights

    def initial_weights(self) -> Weights:
        """The meta-learned weights that the inner loop changes."""
        head = {"all": (True, False), "head": (True,), "body": (False,)}[self.adapt_layers]
        return {name: weight for name, weight in self.network.named_parameters() if name.startswith("head.") in head}
