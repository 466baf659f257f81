"""MAML: initial weights from which a few gradient steps learn a task.

Finn, Abbeel & Levine (2017), Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, ICML, algorithm 2:
theta' = theta - alpha grad L(theta; support), and the outer update lowers L(theta'; query). The inner loss is a mean
over the support set; the authors' code sums over ways, so its rate 0.4 (5 ways) is 2.0 here.
"""

from __future__ import annotations

from typing import Any

from metamtl.algos.descent import Descent
from metamtl.engine.inner import Weights
from metamtl.registry import register


@register("algo", "maml")
class MAML(Descent):
    """Gradient descent on the support set, at one rate in training and one at test."""

    def __init__(self, *, inner_lr: float, test_lr: float | None, **options: Any) -> None:
        super().__init__(**options)
        self.inner_lr, self.test_lr = inner_lr, inner_lr if test_lr is None else test_lr

    @property
    def rate(self) -> float:
        """The inner learning rate of this phase."""
        return self.inner_lr if self.training else self.test_lr

    def update(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """theta' = theta - alpha grad L (algorithm 2, line 7)."""
        return {name: weight - self.rate * gradients[name] for name, weight in weights.items()}
