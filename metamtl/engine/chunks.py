"""A chunk of tasks, run together: one alone, or several in one graph under `torch.func.vmap`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from torch import Tensor, nn, vmap

from metamtl.backbones.norm import Statistics
from metamtl.backbones.vectorised import vectorised
from metamtl.data.task import Examples, Task, TaskBatch, Tensors
from metamtl.engine.flat import flat_steps
from metamtl.engine.network import Network
from metamtl.engine.operators import Operators
from metamtl.engine.outcome import Outcome

Pair = tuple[Tensors, Tensors]
Observed = tuple[Outcome, list[Statistics]]


def run_chunk(
    learner: nn.Module, network: Network, batch: TaskBatch, noise: Tensor | None, flat: Sequence[Tensor] | None
) -> Observed:
    """Outcome [T] and statistics [T, C] of a chunk; `noise` are the tasks' keys [T].

    `flat` are the tensors that the outer gradient is taken by where the inner steps' graphs are not to be kept.
    """
    ways, many = batch.support.ways, len(batch) > 1

    def one(support: Pair, query: Pair, number: Tensor, others: dict[str, Pair], key: Tensor | None) -> Observed:
        beside = {name: Examples(*pair, batch.beside[name].ways) for name, pair in others.items()}
        task = Task(Examples(*support, ways), Examples(*query, ways), number, beside)
        with ExitStack() as stack:
            stack.enter_context(Operators())
            if many:
                stack.enter_context(vectorised(number))
            stack.enter_context(network.task(key, task.support))  # which may embed the support set
            if flat is not None:
                stack.enter_context(flat_steps(network, flat))
            return learner(task), network.observed()

    if many:
        in_dims = (0, 0, 0, 0, None if noise is None else 0)
        observed: Observed = vmap(one, in_dims=in_dims)(*_parts(batch), noise)
        return observed
    key = None if noise is None else noise.squeeze(0)
    outcome, statistics = one(*_parts(batch.single()), key)
    rows = [(mean.unsqueeze(0), var.unsqueeze(0)) for mean, var in statistics]
    return Outcome(outcome.loss.unsqueeze(0), _rows(outcome.figures), _rows(outcome.gradient)), rows


def _parts(task: Task) -> tuple[Pair, Pair, Tensor, dict[str, Pair]]:
    """The tensors of a task, or of many: its support and query set, its number, and the sets beside it."""
    beside = {name: (examples.x, examples.y) for name, examples in task.beside.items()}
    return (task.support.x, task.support.y), (task.query.x, task.query.y), task.number, beside


def _rows(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.unsqueeze(0) for name, value in values.items()}
