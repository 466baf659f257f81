"""learn2learn: Arnold et al. (2020), learn2learn: a library for meta-learning research, arXiv 2008.12284."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from importlib import import_module
from typing import Any

import torch

from metamtl.bench.problem import Plain, Weights
from metamtl.data import torchmeta_shim


def library() -> Any:
    """The package; it imports torchvision, which may need what torchmeta needs, and gym, which prints advice."""
    if not torchmeta_shim.missing():
        torchmeta_shim.install()
    with redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module("learn2learn")


@contextmanager
def stepper(plain: Plain) -> Iterator[Callable[[], Weights]]:
    """A function that computes the meta-gradient once."""
    maml = library().algorithms.MAML(plain.network, lr=plain.rate, first_order=plain.order == "first")
    weights = dict(plain.network.named_parameters())

    def step() -> Weights:
        total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for number in range(len(plain)):
            support_x, support_y, query_x, query_y = plain.task(number)
            adapted = maml.clone()
            for _ in range(plain.steps):
                adapted.adapt(plain.loss(adapted(support_x), support_y))
            outer = plain.loss(adapted(query_x), query_y) / len(plain)
            for name, g in zip(weights, torch.autograd.grad(outer, list(weights.values())), strict=True):
                total[name] += g
        return total

    yield step
