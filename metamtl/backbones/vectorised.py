"""Whether tasks are being run under `torch.func.vmap`, where some operators have a form of their own for many tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch as functorch
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack
from torch._functorch.utils import unwrap_dead_wrappers

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


def is_transformed() -> bool:
    """Whether a learner transforms by torch.func itself, beyond the engine's `vmap`."""
    return (functorch.maybe_current_level() or 0) > is_vectorised()


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
    the same for all tasks and is kept as `ctx.constants`; the tensors given are saved. `forward` detaches what it
    gives: torch lets nobody change a view made there in place, as networks do that rectify or add in place.
    """

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keeps what was given."""
        ctx.save_for_backward(*(value for value in inputs if isinstance(value, Tensor)))
        ctx.constants = [value for value in inputs if not isinstance(value, Tensor)]

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> Any:
        """Of all tasks at once; what they share has no stride between tasks."""
        outputs = cls._of_all(info.batch_size, inputs, in_dims)
        return outputs, 0 if isinstance(outputs, Tensor) else (0,) * len(outputs)

    @classmethod
    def of(cls, *inputs: Any) -> Any:
        """`apply`, by a shorter way where no transform but the engine's `vmap` is on.

        At every call torch's own way binds a signature and flattens trees, in more time than small kernels take.
        """
        if torch.compiler.is_compiling():  # by the compiler that knows torch's own way alone
            return cls.apply(*inputs)  # type: ignore[no-untyped-call]
        level = functorch.maybe_current_level()
        inputs = unwrap_dead_wrappers(inputs)  # those of transforms that are over, which the function of a `vjp` keeps
        if level is None:
            return super(torch.autograd.Function, cls).apply(*inputs)  # type: ignore[misc]
        if is_transformed():
            return cls.apply(*inputs)  # type: ignore[no-untyped-call]
        tasks = len(functorch._unwrap_batched(batched_number(), level)[0])
        parts = [
            functorch._unwrap_batched(value, level) if isinstance(value, Tensor) else (value, None) for value in inputs
        ]
        with temporarily_pop_interpreter_stack():
            outputs = cls._of_all(tasks, *zip(*parts, strict=True))
        if isinstance(outputs, Tensor):
            return functorch._add_batch_dim(outputs, 0, level)
        return tuple(functorch._add_batch_dim(output, 0, level) for output in outputs)

    @classmethod
    def _of_all(cls, tasks: int, inputs: Sequence[Any], dims: Sequence[int | None]) -> Any:
        """Outputs [tasks, 1, ...] of inputs whose task axis is at `dims`, None for what the tasks share."""

        def merged(value: Any, dim: int | None) -> Any:
            if not isinstance(value, Tensor):
                return value
            every = value.expand(tasks, *value.shape) if dim is None else value.movedim(dim, 0)
            return every.flatten(0, 1)

        def apart(output: Tensor) -> Tensor:
            return output.view(tasks, len(output) // tasks, *output.shape[1:])

        outputs = cls.of(*(merged(value, dim) for value, dim in zip(inputs, dims, strict=True)))
        return apart(outputs) if isinstance(outputs, Tensor) else tuple(map(apart, outputs))


def channels_last(maps: Tensor) -> Tensor:
    """Maps [T, N, C, H, W] laid out so."""
    return maps.movedim(2, -1).contiguous().movedim(-1, 2)
