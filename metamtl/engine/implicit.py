"""What implicit gradients are made of, beside products with a Hessian: conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metamtl.engine.inner import Weights

Product = Callable[[Weights], Weights]


def conjugate_gradients(product: Product, right: Weights, steps: int) -> Weights:
    """The approximate solution x of A x = `right` after `steps` steps from zero; `product` maps x to A x.

    Hestenes & Stiefel (1952). A solution that is exact before the last step stays as it is.
    """
    solution = {name: torch.zeros_like(value) for name, value in right.items()}
    residual = direction = right
    length = _dot(residual, residual)
    for _ in range(steps):
        image = product(direction)
        stride = _ratio(length, _dot(direction, image))
        solution = {name: value + stride * direction[name] for name, value in solution.items()}
        residual = {name: value - stride * image[name] for name, value in residual.items()}
        length, before = _dot(residual, residual), length
        turn = _ratio(length, before)
        direction = {name: value + turn * direction[name] for name, value in residual.items()}
    return solution


def _dot(a: Weights, b: Weights) -> Tensor:
    return torch.stack([(value * b[name]).sum() for name, value in a.items()]).sum()


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """Their quotient, zero where nothing is left to divide by."""
    return torch.where(below == 0, 0.0, above / torch.where(below == 0, 1.0, below))
