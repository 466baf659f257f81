"""Implicit MAML: the meta-gradient of a proximal inner problem's solution, without the path that led to it.

Rajeswaran, Finn, Kakade & Levine (2019), Meta-Learning with Implicit Gradients, NeurIPS: phi* minimises L(phi;
support) + lambda / 2 ||phi - theta||^2 (equation 3), and the meta-gradient (I + H / lambda)^-1 grad L(phi*; query),
H the Hessian of the support loss at phi* (equation 6), is found by conjugate gradients (algorithm 2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metamtl.algos.descent import Adapted
from metamtl.algos.maml import MAML
from metamtl.data.task import Examples, Task
from metamtl.engine.implicit import conjugate_gradients
from metamtl.engine.inner import Weights, gradient, hessian_product
from metamtl.registry import register


@register("algo", "imaml")
class ImplicitMAML(MAML):
    """Gradient descent held to the initial weights, with `cg_steps` of conjugate gradients for its derivative."""

    meta_gradient = "own"

    def __init__(self, *, proximity: float, cg_steps: int, cg_damping: float, **options: Any) -> None:
        super().__init__(order="first", adapt="all", **options)
        self.proximity, self.cg_steps, self.cg_damping = proximity, cg_steps, cg_damping

    def support_loss(self, support: Examples) -> Callable[[Weights], Tensor]:
        """L(phi; support) + lambda / 2 ||phi - theta||^2 (equation 3)."""
        data_loss, start = super().support_loss(support), self.weights()

        def proximal(fast: Weights) -> Tensor:
            squares = [(weight - start[name]).square().sum() for name, weight in fast.items()]
            return data_loss(fast) + self.proximity / 2 * torch.stack(squares).sum()

        return proximal

    def own_gradient(self, task: Task) -> tuple[Weights, Tensor, Tensor]:
        """(I + H / lambda)^-1 grad L(phi*; query) (equation 6, algorithm 2)."""
        state = self.adapt(task.support)
        slopes = gradient(lambda fast: self.query_loss(fast, task), state.weights, "first")
        curvature = hessian_product(super().support_loss(task.support), state.weights)

        def system(vector: Weights) -> Weights:
            image = curvature(vector)
            return {name: (1 + self.cg_damping) * v + image[name] / self.proximity for name, v in vector.items()}

        found = conjugate_gradients(system, slopes, self.cg_steps)
        outputs = self.predict(state, task.query.x)
        named = {f"network.{name}": value for name, value in found.items()}
        return named, self.family.loss(outputs, task.query), outputs

    def query_loss(self, weights: Weights, task: Task) -> Tensor:
        """The family's loss on the query set, under statistics that follow the weights."""
        statistics = self.network.support_statistics(task.support.x, weights)
        return self.family.loss(self.predict(Adapted(weights, statistics), task.query.x), task.query)
