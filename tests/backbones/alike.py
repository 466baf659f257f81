"""That tasks which run together give what each gives alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn, vmap
from torch.func import functional_call


def assert_together_as_alone(network: nn.Module, weights: dict[str, Tensor], x: Tensor) -> None:
    """Outputs and slopes of tasks with weights [T, ...] of their own and inputs x [T, ...]."""

    def loss(own: dict[str, Tensor], texts: Tensor) -> Tensor:
        found: Tensor = functional_call(network, own, (texts,))
        return found.square().sum()

    together = vmap(loss)(weights, x)
    alone = torch.stack([loss({name: w[n] for name, w in weights.items()}, x[n]) for n in range(len(x))])
    torch.testing.assert_close(together, alone)
    slopes = [torch.autograd.grad(value.sum(), list(weights.values())) for value in (together, alone)]
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other)
