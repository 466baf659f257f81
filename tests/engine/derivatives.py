"""Numbers to differentiate at, and derivatives by them, for operators that are compared with torch's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def derivatives(function: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """The outputs, and slopes of slopes of slopes by every input."""
    points = [value.clone().requires_grad_() for value in inputs]
    found = [function(*points)]
    value = found[0].sin().sum()
    for _ in range(3):
        slopes = torch.autograd.grad(value, points, create_graph=True)
        found += slopes
        value = sum(((slope * x.cos()).square().sum() for slope, x in zip(slopes, points, strict=True)), value * 0)
    return found
