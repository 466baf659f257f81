"""First order builds no second-order graph: measured on the graph that the outer loss leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import Node

from metamtl.engine.chunks import run_chunk
from metamtl.engine.plan import How
from tests.engine.made import POOLED, TASKS, Method, anil, batch_of, fomaml, learner_of, maml

NORM = "batch"


@dataclass(frozen=True)
class Graph:
    """What an outer loss keeps for its backward pass: operations, and bytes of saved tensors."""

    nodes: int
    bytes: int


def graph_of(loss: Tensor, kept_anyway: Mapping[str, Tensor]) -> Graph:
    """The graph behind `loss`, less the saved tensors that live on anyway."""
    anyway = {tensor.untyped_storage().data_ptr() for tensor in kept_anyway.values()}
    nodes: set[Node] = set()
    storages: dict[int, int] = {}
    waiting = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in nodes:
            continue
        nodes.add(node)
        for tensor in _saved(node):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in anyway:
                storages[storage.data_ptr()] = storage.nbytes()
        waiting += [parent for parent, _ in node.next_functions]
    return Graph(len(nodes), sum(storages.values()))


def _saved(node: Node) -> list[Tensor]:
    values = [getattr(node, name) for name in dir(node) if name.startswith("_saved_") or name == "saved_tensors"]
    flat = [one for value in values for one in (value if isinstance(value, (tuple, list)) else [value])]
    return [_unwrapped(one) for one in flat if isinstance(one, Tensor)]


def _unwrapped(tensor: Tensor) -> Tensor:
    """The memory behind a tensor that `vmap` has wrapped."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


def measured(method: Method, how: How, grad: bool = True) -> Graph:
    """The graph that a chunk of all tasks, or the only task, leaves for its backward pass."""
    learner, batch = learner_of(method, POOLED, NORM), batch_of(POOLED.shape, tasks=1 if how == "loop" else TASKS)
    weights = dict(learner.named_parameters())
    with torch.set_grad_enabled(grad):
        outcome, _ = run_chunk(learner, learner.network, batch, None, None)
    tensors = {"x": batch.support.x, "y": batch.support.y, "query x": batch.query.x, "query y": batch.query.y}
    return graph_of(outcome.loss.sum(), {**weights, **tensors})  # type: ignore[dict-item]


HOWS: tuple[How, ...] = ("loop", "vmap")
KINDS: tuple[Callable[..., Method], ...] = (maml, anil)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_first_order_keeps_less_than_second(kind: Callable[..., Method], how: How) -> None:
    first, second = (measured(kind(order, inner_steps=5), how) for order in ("first", "second"))
    assert first.nodes < second.nodes / 2
    assert first.bytes < second.bytes / (5 if kind is maml else 1)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("kind", [fomaml, *KINDS], ids=lambda kind: kind.__name__)
def test_first_order_does_not_grow_with_the_steps(kind: Callable[..., Method], how: How) -> None:
    """Each step adds the subtraction that makes every fast weight, and saves nothing."""
    options = {} if kind is fomaml else {"order": "first"}
    one, five = (measured(kind(**options, inner_steps=steps), how) for steps in (1, 5))
    assert one.bytes == five.bytes > 0
    fast_weights = 2 if kind is anil else 8
    assert five.nodes - one.nodes == 4 * fast_weights


@pytest.mark.parametrize("how", HOWS)
def test_second_order_grows_with_the_steps(how: How) -> None:
    """The measure can tell: what holds of first order above does not hold of second."""
    one, five = (measured(maml("second", inner_steps=steps), how) for steps in (1, 5))
    assert five.bytes > 3 * one.bytes


@pytest.mark.parametrize("how", HOWS)
def test_evaluation_builds_no_graph(how: How) -> None:
    assert measured(maml("second"), how, grad=False) == Graph(0, 0)
