"""The gradient of an inner loss, the same call whether the engine runs a task alone or vectorised.

A first-order gradient is taken at detached weights with the outer graph switched off, so that no graph for a second
derivative is ever built (Finn et al. 2017, section 5.2; Nichol et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Literal

import torch
from torch import Tensor

Order = Literal["first", "second"]
Weights = dict[str, Tensor]

_VECTORISED: ContextVar[bool] = ContextVar("metamtl_vectorised", default=False)


@contextmanager
def vectorised() -> Iterator[None]:
    """While the engine runs tasks under `torch.func.vmap`, where only functional transforms can differentiate."""
    token = _VECTORISED.set(True)
    try:
        yield
    finally:
        _VECTORISED.reset(token)


def gradient(loss: Callable[[Weights], Tensor], weights: Weights, order: Order) -> Weights:
    """d loss / d weights at `weights`, differentiable once more when `order` is second and an outer graph is on."""
    second = order == "second" and torch.is_grad_enabled()
    if not second:
        weights = {name: tensor.detach() for name, tensor in weights.items()}
    if _VECTORISED.get():
        with nullcontext() if second else torch.no_grad():
            slopes: Weights = torch.func.grad(loss)(weights)
            return slopes
    with torch.enable_grad():
        if not second:
            weights = {name: tensor.requires_grad_() for name, tensor in weights.items()}
        gradients = torch.autograd.grad(loss(weights), list(weights.values()), create_graph=second)
    return dict(zip(weights, gradients, strict=True))
