"""MAML++: MAML with a learned rate and normalisation for every inner step, and a loss after each of them.

Antoniou, Edwards & Storkey (2019), How to Train Your MAML, ICLR, section 4: per-layer per-step learning rates (LSLR),
the multi-step loss (MSL, equation 4) whose weight moves to the last step, first order before second (DA), and batch
normalisation with a scale and shift for each step (BNWB) that the inner loop leaves alone. The running statistics
for each step (BNRS) are left out: in the authors' code, as here with norm=batch, every pass uses its own batch's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from metamtl.algos.descent import Adapted, Descent
from metamtl.algos.named import Named
from metamtl.backbones.norm import BatchNorm, GroupNorm
from metamtl.data.task import Examples, Task
from metamtl.engine.inner import Order, Weights, gradient
from metamtl.registry import register

_LEAST = 0.03  # the smallest share of an equal weight that a step before the last falls to (the authors' code)


@register("algo", "mamlpp")
class MAMLPlusPlus(Descent):
    """Steps number 0, 1, ... have their own rates and norms; those beyond the trained ones take the last step's."""

    def __init__(
        self,
        *,
        initial_lr: float,
        learned_rates: bool,
        multi_step_share: float,
        first_order_share: float,
        per_step_norm: bool,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.multi_step_share, self.first_order_share = multi_step_share, first_order_share
        weights, trained = self.weights(), max(1, self.inner_steps)
        self.norm_names = _norm_names(self.network) if per_step_norm else []
        self.inner_names = [name for name in self.inner_names if name not in self.norm_names]
        self.rates = Named({name: torch.full((trained,), initial_lr) for name in self.inner_names})
        self.rates.requires_grad_(learned_rates)
        # the first step's are the network's own
        self.norms = Named({f"{n}.{name}": weights[name] for n in range(1, trained) for name in self.norm_names})

    def update(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """Theta_i = theta_(i-1) - alpha_i grad L, with an alpha_i for each layer (section 4, LSLR)."""
        rates = self.rates.values()
        return {name: w - rates[name][min(step, len(rates[name]) - 1)] * gradients[name] for name, w in weights.items()}

    def adapt(self, support: Examples) -> Adapted:
        """Fast weights after the inner steps of this phase."""
        *_, weights = self.path(support)
        return Adapted(weights, self.network.support_statistics(support.x, weights))

    def path(self, support: Examples) -> Iterator[Weights]:
        """The initial weights, then those after each inner step, each with the norms of the step that made them."""
        loss = self.support_loss(support)
        fast = self.initial_weights(support)
        yield fast
        for step in range(self.steps):
            norms = self.norms_of(step)
            fast = self.update(fast, gradient(partial(_under, loss, norms), fast, self.order_now), step)
            yield {**fast, **norms}

    def norms_of(self, step: int) -> Weights:
        """The scales and shifts of an inner step, by the names of the network's own."""
        number, norms = min(step, max(1, self.inner_steps) - 1), self.norms.values()
        return {name: norms[f"{number}.{name}"] for name in self.norm_names} if number else {}

    def outer_loss(self, task: Task) -> tuple[Tensor, Tensor]:
        """The weighted sum of the query losses after each step (equation 4); after the last one alone in testing."""
        if not self.training or self.steps == 0:
            return super().outer_loss(task)
        _, *path = self.path(task.support)
        weighted: list[tuple[float, Tensor]] = []
        for share, weights in zip(self.loss_weights(), path, strict=True):
            if share > 0:
                statistics = self.network.support_statistics(task.support.x, weights)
                weighted.append((share, self.predict(Adapted(weights, statistics), task.query.x)))
        losses = [share * self.family.loss(outputs, task.query) for share, outputs in weighted]
        return torch.stack(losses).sum(), weighted[-1][1]

    def loss_weights(self) -> list[float]:
        """The weight of the loss after each step: equal at first, all on the last step after `multi_step_share`."""
        if self.progress >= self.multi_step_share:
            return [0.0] * (self.steps - 1) + [1.0]
        each = max(1 - self.progress / self.multi_step_share, _LEAST) / self.steps
        return [each] * (self.steps - 1) + [1 - (self.steps - 1) * each]

    @property
    def order_now(self) -> Order:
        """First order over the first `first_order_share` of training."""
        return "first" if self.training and self.progress < self.first_order_share else self.order


def _under(loss: Callable[[Weights], Tensor], norms: Weights, fast: Weights) -> Tensor:
    """The inner loss of fast weights under the norms of a step."""
    return loss({**fast, **norms})


def _norm_names(network: torch.nn.Module) -> list[str]:
    """The weights of the network's normalisation layers."""
    layers = [name for name, layer in network.named_modules() if isinstance(layer, (BatchNorm, GroupNorm))]
    return [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
