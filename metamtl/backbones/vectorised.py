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
