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
    return _points_and_slopes(loss, weights, order == "second" and torch.is_grad_enabled())[1]


def hessian_product(loss: Callable[[Weights], Tensor], weights: Weights) -> Callable[[Weights], Weights]:
    """The map from v to (d^2 loss / d weights^2) v at `weights`; one forward pass serves any number of products."""
    fixed = {name: weight.detach() for name, weight in weights.items()}
    points, slopes = _points_and_slopes(loss, fixed, second=True)

    def product(vector: Weights) -> Weights:
        tensors = (*slopes.values(), *points.values(), *(vector[name] for name in points))
        found = _Along.apply(*tensors) if is_vectorised() else _along(*tensors)  # type: ignore[no-untyped-call]
        return dict(zip(points, found, strict=True))

    return product


def _points_and_slopes(loss: Callable[[Weights], Tensor], weights: Weights, second: bool) -> tuple[Weights, Weights]:
    """The weights as a slope can be taken at them, and the slopes there."""
    with torch.enable_grad():
        if is_vectorised():
            own = _PerTask.apply(second, batched_number(), *weights.values())  # type: ignore[no-untyped-call]
            points = dict(zip(weights, own, strict=True))
            slopes = _Slopes.apply(second, loss(points), *points.values())  # type: ignore[no-untyped-call]
        else:
            points = {name: _point(weight, second) for name, weight in weights.items()}
            slopes = _slopes(loss(points), list(points.values()), second)
    return points, dict(zip(weights, slopes, strict=True))


def _point(weight: Tensor, second: bool) -> Tensor:
    """The weight as autograd can take a slope at it: constants, as frozen weights are at first, have to be asked."""
    return weight if second and weight.requires_grad else weight.detach().requires_grad_()


def _slopes(loss: Tensor, points: Sequence[Tensor], second: bool) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, points, create_graph=second, materialize_grads=True)


def _along(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Of n slopes, n points and n vectors: the slope by each point of the products of slopes and vectors."""
    count = len(tensors) // 3
    slopes, points, vectors = tensors[:count], tensors[count : 2 * count], tensors[2 * count :]
    return torch.autograd.grad(slopes, points, vectors, retain_graph=True, materialize_grads=True)


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


class _Along(Together):
    """`_along` of each task."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *tensors: Tensor) -> Any:
        """Of all tasks at once, in whose graph no task's slope depends on another's points."""
        count = len(tensors) // 3
        dims = in_dims[count : 2 * count]  # of the points, and of slopes and products with them
        moved = (
            vector.expand(info.batch_size, *vector.shape).movedim(0, dim) if own is None else vector.movedim(own, dim)
            for vector, own, dim in zip(tensors[2 * count :], in_dims[2 * count :], dims, strict=True)
        )
        return _along(*tensors[: 2 * count], *moved), dims
