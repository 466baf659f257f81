"""The gradient of an inner loss, the same call whether the engine runs a task alone or vectorised.

Under `vmap` the tensors of all tasks lie in one graph of plain autograd, and no task's loss depends on another's
weights: the gradient of the sum of the losses holds every task's own gradient. So no `torch.func.grad` is nested in
`vmap`: one level of dispatch less, no graph but the one that the outer gradient needs, and native operators that are
differentiated twice only by autograd itself.

A first-order gradient is taken at detached weights with the outer graph switched off, so that no graph for a second
derivative is ever built (Finn et al. 2017, section 5.2; Nichol et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from metamtl.backbones.vectorised import Together, batched_number, is_vectorised

Order = Literal["first", "second"]
Weights = dict[str, Tensor]


def gradient(loss: Callable[[Weights], Tensor], weights: Weights, order: Order) -> Weights:
    """d loss / d weights at `weights`, differentiable once more when `order` is second and an outer graph is on."""
    second = order == "second" and torch.is_grad_enabled()
    with torch.enable_grad():
        if is_vectorised():
            own = _PerTask.apply(second, batched_number(), *weights.values())  # type: ignore[no-untyped-call]
            points = dict(zip(weights, own, strict=True))
            slopes = _Slopes.apply(second, loss(points), *points.values())  # type: ignore[no-untyped-call]
        else:
            points = {name: _point(weight, second) for name, weight in weights.items()}
            slopes = _slopes(loss(points), list(points.values()), second)
    return dict(zip(weights, slopes, strict=True))


def _point(weight: Tensor, second: bool) -> Tensor:
    """The weight as autograd can take a slope at it: constants, as frozen weights are at first, have to be asked."""
    return weight if second and weight.requires_grad else weight.detach().requires_grad_()


def _slopes(loss: Tensor, points: Sequence[Tensor], second: bool) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, points, create_graph=second, materialize_grads=True)


class _PerTask(Together):
    """Weights with the task axis, those that the tasks share included."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], second: bool, number: Tensor, *weights: Tensor) -> Any:
        """The points at which the slopes of all tasks are taken."""
        tasks, dims = info.batch_size, in_dims[2:]
        points = (
            weight if dim is not None else weight.expand(tasks, *weight.shape)
            for weight, dim in zip(weights, dims, strict=True)
        )
        return tuple(_point(point, second) for point in points), tuple(dim or 0 for dim in dims)


class _Slopes(Together):
    """The slopes of each task's loss."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], second: bool, loss: Tensor, *points: Tensor) -> Any:
        """Those of the sum of the losses, which are each task's own."""
        return _slopes(loss.sum(), points, second), in_dims[2:]
