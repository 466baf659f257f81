"""TorchOpt: Ren et al. (2023), TorchOpt: an efficient library for differentiable optimization, JMLR 24."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch

from metamtl.bench.problem import Plain, Weights

torchopt: Any = import_module("torchopt")
ORDERS = ("second",)  # its differentiable SGD knows no first order


@contextmanager
def stepper(plain: Plain) -> Iterator[Callable[[], Weights]]:
    """A function that computes the meta-gradient once."""
    network = plain.network
    weights = dict(network.named_parameters())
    descent = torchopt.MetaSGD(network, lr=plain.rate)
    start = torchopt.extract_state_dict(network, by="reference", detach_buffers=True)
    fresh = torchopt.extract_state_dict(descent, by="reference")

    def step() -> Weights:
        total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for number in range(len(plain)):
            support_x, support_y, query_x, query_y = plain.task(number)
            for _ in range(plain.steps):
                descent.step(plain.loss(network(support_x), support_y))
            outer = plain.loss(network(query_x), query_y) / len(plain)
            for name, g in zip(weights, torch.autograd.grad(outer, list(weights.values())), strict=True):
                total[name] += g
            torchopt.recover_state_dict(network, start)
            torchopt.recover_state_dict(descent, fresh)
        return total

    yield step
