"""Inner steps whose graphs are not kept: memory does not grow with their number.

For a chain v_k+1 = u(v_k) the outer gradient is passed back through one step at a time; for gradient descent that is
v <- v - alpha H v (Maclaurin, Duvenaud & Adams 2015, algorithm 2, with the v_k kept instead of run backwards). Going
forward a step keeps its v_k alone; going backward its graph is made again, used and dropped. The numbers are those of
the full graph, and the time that of one more evaluation of every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metamtl.backbones.vectorised import Together, batched_number, is_vectorised, vectorised
from metamtl.engine.network import Network
from metamtl.engine.operators import Operators

Weights = dict[str, Tensor]
Step = Callable[[Weights], Weights]
Function = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class _Setting:
    network: Network
    parameters: Sequence[Tensor]


_SETTING: ContextVar[_Setting | None] = ContextVar("metamtl_flat", default=None)


@contextmanager
def flat_steps(network: Network, parameters: Sequence[Tensor]) -> Iterator[None]:
    """While a task is run whose inner steps are not kept; `parameters` are what the outer gradient is taken by."""
    token = _SETTING.set(_Setting(network, parameters))
    try:
        yield
    finally:
        _SETTING.reset(token)


def inner_step(step: Step, weights: Weights) -> Weights:
    """The weights, by the same names, after a step of an inner loop; the engine says whether its graph is kept.

    What `step` depends on beside `weights` must be constant over the inner loop, or depend on the learner's
    parameters through a graph of its own.
    """
    setting = _SETTING.get()
    if setting is None or not torch.is_grad_enabled():
        return step(weights)

    def values(*before: Tensor) -> tuple[Tensor, ...]:
        after = step(dict(zip(weights, before, strict=True)))
        return tuple(after[name] for name in weights)

    again = _Again(values, setting.network.moment(), setting.parameters)
    if is_vectorised():
        after = _AllTasks.apply(again, batched_number(), *weights.values())  # type: ignore[no-untyped-call]
    else:
        after = _Recomputed.apply(again, values, *weights.values(), *setting.parameters)  # type: ignore[no-untyped-call]
    return dict(zip(weights, after, strict=True))


@dataclass(frozen=True)
class _Again:
    """A step of one task, and what it takes to run it a second time."""

    values: Function
    moment: Callable[[], AbstractContextManager[None]]
    parameters: Sequence[Tensor]


class _AllTasks(Together):
    """A step of every task, with one node in the graph of all."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], again: _Again, number: Tensor, *weights: Tensor) -> Any:
        """The weights after the step. What else it uses keeps its task axis, as the level of `vmap` is the same."""

        def one(number: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
            with vectorised(number):
                return again.values(*before)

        def every(*before: Tensor) -> tuple[Tensor, ...]:
            after: tuple[Tensor, ...] = torch.vmap(one, in_dims=in_dims[1:])(number, *before)
            return after

        return _Recomputed.apply(again, every, *weights, *again.parameters), (0,) * len(weights)  # type: ignore[no-untyped-call]


class _Recomputed(torch.autograd.Function):
    """A step that keeps its inputs, and is run again for its gradient."""

    @staticmethod
    def forward(ctx: Any, again: _Again, function: Function, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The values after the step; `tensors` are those before it, then the parameters."""
        ctx.again, ctx.function = again, function
        before = tensors[: len(tensors) - len(again.parameters)]
        ctx.save_for_backward(*before)
        # a weight that a step leaves as it is would be an input given back
        return tuple(value.clone() for value in function(*before))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the values before the step, and of the parameters."""
        before = [value.detach().requires_grad_() for value in ctx.saved_tensors]
        # the task itself is over, and its choices with it
        with torch.enable_grad(), ctx.again.moment(), Operators():
            after = ctx.function(*before)
        # the graph of what the step uses beside its weights serves the other steps too
        inputs = [*before, *ctx.again.parameters]
        return None, None, *torch.autograd.grad(after, inputs, slopes, retain_graph=True, allow_unused=True)
