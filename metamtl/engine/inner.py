"""The gradient of an inner loss, the same call whether the engine runs a task alone or vectorised.

A first-order gradient is taken at detached weights with the outer graph switched off, so that no graph for a second
derivative is ever built (Finn et al. 2017, section 5.2; Nichol et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor

from metamtl.backbones.vectorised import is_vectorised

Order = Literal["first", "second"]
Weights = dict[str, Tensor]


def gradient(loss: Callable[[Weights], Tensor], weights: Weights, order: Order) -> Weights:
    """d loss / d weights at `weights`, differentiable once more when `order` is second and an outer graph is on."""
    second = order == "second" and torch.is_grad_enabled()
    if not second:
        weights = {name: tensor.detach() for name, tensor in weights.items()}
    if is_vectorised():
        with nullcontext() if second else torch.no_grad():
            slopes: Weights = torch.func.grad(loss)(weights)
            return slopes
    with torch.enable_grad():
        # constants, which frozen weights are too at the first step, have to be asked for their slope
        weights = {name: w if w.requires_grad else w.detach().requires_grad_() for name, w in weights.items()}
        gradients = torch.autograd.grad(loss(weights), list(weights.values()), create_graph=second)
    return dict(zip(weights, gradients, strict=True))
