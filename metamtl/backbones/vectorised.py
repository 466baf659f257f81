"""Whether tasks are being run under `torch.func.vmap`, where some operators have a form of their own for many tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

_TASK: ContextVar[Tensor | None] = ContextVar("metamtl_task", default=None)


@contextmanager
def vectorised(number: Tensor) -> Iterator[None]:
    """While a task, one of those under the engine's `vmap`, is run; `number` is its number, batched over the tasks."""
    token = _TASK.set(number)
    try:
        yield
    finally:
        _TASK.reset(token)


def is_vectorised() -> bool:
    """Whether the code is being run under the engine's `vmap`."""
    return _TASK.get() is not None


def batched_number() -> Tensor:
    """A tensor [] that is known to have the task axis, for operators that must give their outputs one."""
    number = _TASK.get()
    assert number is not None
    return number


class Together(torch.autograd.Function):
    """Base of an operation on the tensors of all tasks at once, which is what a rule of `vmap` is given."""

    @staticmethod
    def forward(*arguments: Any) -> Any:
        """Never reached: a task alone needs no such operation."""
        raise NotImplementedError

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keeps nothing: what the rule does is recorded by autograd itself."""


class OfTasks(torch.autograd.Function):
    """Base of an operation whose tensors all have the task axis in front; a task alone is one of one.

    Under `vmap`, which gives every task an axis of length one, the tasks take that axis. So there is one form for tasks
    alone and together, of which autograd and torch.func's transforms take derivatives alike. What is not a tensor is
    the same for all tasks and is kept as `ctx.constants`; the tensors given are saved.
    """

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keeps what was given."""
        ctx.save_for_backward(*(value for value in inputs if isinstance(value, Tensor)))
        ctx.constants = [value for value in inputs if not isinstance(value, Tensor)]

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> Any:
        """Of all tasks at once; what they share has no stride between tasks."""

        def merged(value: Any, dim: int | None) -> Any:
            if not isinstance(value, Tensor):
                return value
            every = value.expand(info.batch_size, *value.shape) if dim is None else value.movedim(dim, 0)
            return every.flatten(0, 1)

        outputs = cls.apply(*(merged(value, dim) for value, dim in zip(inputs, in_dims, strict=True)))  # type: ignore[no-untyped-call]

        def apart(output: Tensor) -> Tensor:
            return output.view(info.batch_size, len(output) // info.batch_size, *output.shape[1:])

        if isinstance(outputs, Tensor):
            return apart(outputs), 0
        return tuple(map(apart, outputs)), (0,) * len(outputs)


def channels_last(maps: Tensor) -> Tensor:
    """Maps [T, N, C, H, W] laid out so."""
    return maps.movedim(2, -1).contiguous().movedim(-1, 2)
