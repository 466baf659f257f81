"""`vmap(grad(outer))` over all tasks at once: the pattern of torch.func's own documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.func import functional_call, grad, vmap

from metamtl.bench.problem import Plain, Weights


@contextmanager
def stepper(plain: Plain) -> Iterator[Callable[[], Weights]]:
    """A function that computes the meta-gradient once."""
    weights = {name: weight.detach() for name, weight in plain.network.named_parameters()}

    def loss(fast: Weights, x: Tensor, y: Tensor) -> Tensor:
        return plain.loss(functional_call(plain.network, fast, (x,)), y)

    def outer(fast: Weights, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
        for _ in range(plain.steps):
            slopes = grad(loss)(fast, support_x, support_y)
            if plain.order == "first":
                slopes = {name: g.detach() for name, g in slopes.items()}
            fast = {name: w - plain.rate * slopes[name] for name, w in fast.items()}
        return loss(fast, query_x, query_y)

    def step() -> Weights:
        gradients = vmap(grad(outer), in_dims=(None, 0, 0, 0, 0))(weights, *plain.tasks)
        return {name: g.mean(0) for name, g in gradients.items()}

    yield step
