"""higher: Grefenstette et al. (2019), Generalized inner loop meta-learning, arXiv 1910.01727."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch

from metamtl.bench.problem import Plain, Weights

higher: Any = import_module("higher")


@contextmanager
def stepper(plain: Plain) -> Iterator[Callable[[], Weights]]:
    """A function that computes the meta-gradient once."""
    network, second = plain.network, plain.order == "second"
    names = [name for name, _ in network.named_parameters()]
    descent = torch.optim.SGD(network.parameters(), lr=plain.rate)

    def step() -> Weights:
        total = {name: torch.zeros_like(weight) for name, weight in network.named_parameters()}
        for number in range(len(plain)):
            support_x, support_y, query_x, query_y = plain.task(number)
            with higher.innerloop_ctx(network, descent, copy_initial_weights=False, track_higher_grads=second) as loop:
                adapted, optimizer = loop
                for _ in range(plain.steps):
                    optimizer.step(plain.loss(adapted(support_x), support_y))
                outer = plain.loss(adapted(query_x), query_y) / len(plain)
                # without higher gradients the first-order one is that at the adapted weights
                weights = list(network.parameters() if second else adapted.parameters())
                for name, g in zip(names, torch.autograd.grad(outer, weights), strict=True):
                    total[name] += g
        return total

    yield step
