"""Reptile: the initial weights move towards what training on a task makes of them.

Nichol, Achiam & Schulman (2018), On First-Order Meta-Learning Algorithms, algorithm 2: theta <- theta + epsilon mean
(theta~ - theta), with theta~ after k steps of Adam (beta1 = 0) on small batches of the task; there is no query set. The
outer optimiser is SGD whose rate is epsilon. Unlike the authors' code, which carries Adam's second moments from task
to task, each task starts without any, so that a task's result does not depend on those before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import torch
from torch import Tensor

from metamtl.algos.base import Learner
from metamtl.algos.descent import Adapted
from metamtl.data.random import permutation
from metamtl.data.task import Examples, Task, Tensors, size
from metamtl.engine.inner import Weights, gradient
from metamtl.registry import register

_BETA, _EPSILON = 0.999, 1e-8  # Adam's decay of the second moments, and what keeps its division finite


@register("algo", "reptile")
class Reptile(Learner):
    """Adam on batches of the support set; its displacement is the meta-gradient."""

    meta_gradient = "own"

    def __init__(
        self,
        *,
        inner_lr: float,
        inner_steps: int,
        inner_batch: int,
        test_lr: float | None,
        test_steps: int | None,
        test_batch: int | None,
        **context: Any,
    ) -> None:
        super().__init__(**context)
        self.inner_lr, self.inner_steps, self.inner_batch = inner_lr, inner_steps, inner_batch
        self.test_lr = inner_lr if test_lr is None else test_lr
        self.test_steps = inner_steps if test_steps is None else test_steps
        self.test_batch = inner_batch if test_batch is None else test_batch

    def adapt(self, support: Examples) -> Adapted:
        """Weights after the inner steps of this phase."""
        rate, steps = (self.inner_lr, self.inner_steps) if self.training else (self.test_lr, self.test_steps)
        weights = self.network.adaptable
        moments = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for step, batch in zip(range(1, steps + 1), self.batches(support), strict=False):
            slopes = gradient(lambda fast, batch=batch: self.inner_loss(fast, batch), weights, "first")  # type: ignore[misc]
            moments = {name: _BETA * v + (1 - _BETA) * slopes[name].square() for name, v in moments.items()}
            unbiased = {name: v / (1 - _BETA**step) for name, v in moments.items()}
            weights = {
                name: w - rate * slopes[name] / (unbiased[name].sqrt() + _EPSILON) for name, w in weights.items()
            }
        return Adapted(weights, self.network.support_statistics(support.x, weights))

    def predict(self, state: Adapted, x: Tensors) -> Tensor:
        """Outputs of the adapted network."""
        return self.network.query(x, state.weights, state.statistics)

    def own_gradient(self, task: Task) -> tuple[Weights, Tensor, Tensor]:
        """Theta - theta~, the direction that an optimiser walks against."""
        state = self.adapt(task.support)
        start = self.network.adaptable
        displacement = {f"network.{name}": start[name] - weight for name, weight in state.weights.items()}
        outputs = self.predict(state, task.query.x)
        return displacement, self.family.loss(outputs, task.query), outputs

    def inner_loss(self, weights: Weights, batch: Examples) -> Tensor:
        """The family's loss on a batch of the support set."""
        return self.family.loss(self.network.support(batch.x, weights), batch)

    def batches(self, support: Examples) -> Iterator[Examples]:
        """Batches of the support set, cut from one shuffled pass after another."""
        examples, batch = size(support.x), self.inner_batch if self.training else self.test_batch
        if batch >= examples:
            while True:
                yield support
        waiting: list[int] = []
        # the same orders for every task: labels and examples are drawn at random already
        for epoch in count():
            waiting += permutation(examples, 0, epoch).tolist()
            while len(waiting) >= batch:
                chosen, waiting = torch.tensor(waiting[:batch]), waiting[batch:]
                yield support.map(lambda values, chosen=chosen: values[chosen.to(values.device)])  # type: ignore[misc]
