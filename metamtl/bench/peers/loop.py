"""One task after another by `torch.autograd.grad`: what one writes without a library, and the reference in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.func import functional_call

from metamtl.bench.problem import Plain, Weights


def gradient(plain: Plain) -> Weights:
    """The mean meta-gradient of the tasks; each task's graph is freed before the next."""
    weights: Weights = dict(plain.network.named_parameters())
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for number in range(len(plain)):
        support_x, support_y, query_x, query_y = plain.task(number)
        fast = dict(weights)
        for _ in range(plain.steps):
            loss = plain.loss(functional_call(plain.network, fast, (support_x,)), support_y)
            slopes = torch.autograd.grad(loss, list(fast.values()), create_graph=plain.order == "second")
            fast = {name: w - plain.rate * g for (name, w), g in zip(fast.items(), slopes, strict=True)}
        outer = plain.loss(functional_call(plain.network, fast, (query_x,)), query_y)
        for name, g in zip(weights, torch.autograd.grad(outer / len(plain), list(weights.values())), strict=True):
            total[name] += g
    return total


@contextmanager
def stepper(plain: Plain) -> Iterator[Callable[[], Weights]]:
    """A function that computes the meta-gradient once."""
    yield lambda: gradient(plain)
