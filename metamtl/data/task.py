"""Tasks as tensors: a support set and a query set, and batches of them with the task axis first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

Tensors = Tensor | dict[str, Tensor]
B = TypeVar("B", bound="Task")


def joined(first: Tensors, second: Tensors) -> Tensors:
    """The examples of `first`, then those of `second`."""
    if isinstance(first, dict) and isinstance(second, dict):
        return {name: torch.cat([value, second[name]]) for name, value in first.items()}
    assert isinstance(first, Tensor) and isinstance(second, Tensor)
    return torch.cat([first, second])


def at_least_single(values: Tensor) -> Tensor:
    """In single precision where they come in half: what is summed or solved does not survive that."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def size(values: Tensors, axis: int = 0) -> int:
    """Length of an axis that all tensors share; it stays free in an exported program, where `len` would fix it."""
    return (next(iter(values.values())) if isinstance(values, dict) else values).shape[axis]


def on_each(values: Tensors, change: Callable[[Tensor], Tensor]) -> Tensors:
    """`change` of a tensor, or of every named tensor."""
    if isinstance(values, dict):
        return {name: change(value) for name, value in values.items()}
    return change(values)


@dataclass(frozen=True)
class Examples:
    """Inputs x [N, ...] and labels y [N, ...] of one set; named tensors where an example has several parts.

    `ways` is the number of classes that the labels come from; None for regression.
    """

    x: Tensors
    y: Tensors
    ways: int | None = None

    @property
    def labels(self) -> Tensor:
        """The one label of each example; TypeError where an example has several."""
        if isinstance(self.y, dict):
            raise TypeError(f"these examples have several labels: {', '.join(self.y)}")
        return self.y

    def map(self, change: Callable[[Tensor], Tensor]) -> Examples:
        """These examples with every tensor changed."""
        return Examples(on_each(self.x, change), on_each(self.y, change), self.ways)


@dataclass(frozen=True)
class Minibatch:
    """Examples [B] of a supervised stage, labelled by their class among all of the split's."""

    examples: Examples


@dataclass(frozen=True)
class Task:
    """One task. `number` [] is its place in the episode stream, from which all of its noise is drawn.

    `beside` are the support sets of tasks of other families, by the family's name, that it is learnt together with.
    """

    support: Examples
    query: Examples
    number: Tensor
    beside: Mapping[str, Examples] = field(default_factory=dict)

    def map(self: B, change: Callable[[Tensor], Tensor]) -> B:
        """This task, or batch, with every tensor changed."""
        sets = {"support": self.support.map(change), "query": self.query.map(change)}
        beside = {name: examples.map(change) for name, examples in self.beside.items()}
        return replace(self, number=change(self.number), beside=beside, **sets)


@dataclass(frozen=True)
class TaskBatch(Task):
    """T tasks of one shape: every tensor of `Task` with the task axis in front, `number` [T] included."""

    def __len__(self) -> int:
        return int(self.number.shape[0])

    def task(self, index: int) -> Task:
        """Task `index` alone."""
        return self.part(slice(index, index + 1)).single()

    def part(self, where: slice) -> TaskBatch:
        """The tasks of a slice."""
        return self.map(lambda tensor: tensor[where])

    def single(self) -> Task:
        """The only task of a batch of one."""
        return Task(**vars(self.map(lambda tensor: tensor.squeeze(0))))

    def to(self, device: torch.device, dtype: torch.dtype) -> TaskBatch:
        """On a device, floating-point tensors in `dtype`."""
        return self.map(lambda t: t.to(device, dtype if t.is_floating_point() else t.dtype))
