"""The task axis: runs a learner on every task of a batch and returns the exact meta-gradient.

Tasks are run one after another (`loop`) or in chunks under `torch.func.vmap`; both give the same numbers. The
meta-gradient is that of the sum over tasks, taken backward through the vectorised tasks, which is right because no
native batch normalisation is differentiated twice there (see `metamtl.backbones.norm`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from metamtl.backbones.noise import mix
from metamtl.backbones.norm import Statistics
from metamtl.backbones.vectorised import vectorised
from metamtl.data.task import Examples, Minibatch, Task, TaskBatch, Tensors, size
from metamtl.engine.network import Network
from metamtl.engine.outcome import Outcome

How = Literal["auto", "loop", "vmap"]
Weights = dict[str, Tensor]
Figures = dict[str, Tensor]
Pair = tuple[Tensors, Tensors]
Observed = tuple[Outcome, list[Statistics]]
EXAMPLES_A_CHUNK = 320  # activations of more 28x28 images than this leave the processor's caches (measured, Conv-4)
PIXELS = 28 * 28


@dataclass
class Update:
    """What one batch of tasks gives: sums over its tasks, so that chunks and processes add up.

    `figures` holds `loss` and the family's metrics, each [T].
    """

    gradient: Weights
    figures: Figures
    statistics: list[Statistics]
    tasks: int


class Engine:
    """Runs tasks as `how` says.

    `learner` maps a task, or a supervised minibatch, to its loss and figures; `network` is the part of it that draws
    noise and keeps statistics; `noise_seed` keys the noise of meta-training.
    """

    def __init__(self, learner: nn.Module, network: Network, how: How, noise_seed: int) -> None:
        self.learner, self.network = learner, network
        # measured faster than the loop at every shape tried; a chunk of one task runs without vmap either way
        self.how: How = "vmap" if how == "auto" else how
        self.noise_seed = noise_seed

    # ---- meta-gradients ----

    def meta_gradient(self, batches: Sequence[TaskBatch]) -> Update:
        """Summed gradient of the tasks' outer losses, with the learner in training mode.

        A caller divides by the number of tasks, over all processes.
        """
        weights = self._weights()
        total = Update({name: torch.zeros_like(w) for name, w in weights.items()}, {}, [], 0)
        for batch in self._chunks(batches):
            outcome, statistics = self._run(batch, weights, self._noise(batch))
            own = {name: g.sum(0) for name, g in outcome.gradient.items()}
            for name, g in (own or _gradient(outcome.loss.sum(), weights)).items():
                total.gradient[name] += g
            _add(total, outcome.figures, statistics, len(batch))
        return total

    def minibatch_gradient(self, minibatch: Minibatch, step: int) -> Update:
        """Summed gradient of a supervised minibatch's examples; `step` keys its noise."""
        weights = self._weights()
        with self.network.task(mix(torch.tensor(step, device=minibatch.examples.labels.device), self.noise_seed)):
            loss, figures, _ = functional_call(self.learner, weights, (minibatch,))
            gradient = _gradient(loss, weights)
            statistics = self.network.observed()
        count = size(minibatch.examples.x)
        total = Update({name: g * count for name, g in gradient.items()}, {}, [], 0)
        every = {name: value.expand(count) for name, value in figures.items()}
        rows = [(mean.expand(count, -1), var.expand(count, -1)) for mean, var in statistics]
        _add(total, every, rows, count)
        return total

    # ---- figures alone ----

    def evaluate(self, batches: Sequence[TaskBatch]) -> Figures:
        """Loss and metrics [T] of the tasks, without a meta-gradient, in the order of the batches."""
        total = Update({}, {}, [], 0)
        with torch.no_grad():
            for batch in self._chunks(batches):
                outcome, _ = self._run(batch, {}, None)
                _add(total, outcome.figures, [], len(batch))
        return total.figures

    # ---- within ----

    def _weights(self) -> Weights:
        return {name: weight for name, weight in self.learner.named_parameters() if weight.requires_grad}

    def _noise(self, batch: TaskBatch) -> Tensor:
        return mix(batch.number, self.noise_seed)

    def _chunks(self, batches: Sequence[TaskBatch]) -> Iterator[TaskBatch]:
        for batch in batches:
            size = 1 if self.how == "loop" else max(1, EXAMPLES_A_CHUNK // _load(batch))
            for start in range(0, len(batch), size):
                yield batch.part(slice(start, start + size))

    def _run(self, batch: TaskBatch, weights: Weights, noise: Tensor | None) -> Observed:
        """Outcome [T] and statistics [T, C] of a chunk."""
        ways = batch.support.ways

        def one(support: Pair, query: Pair, number: Tensor, key: Tensor | None) -> Observed:
            task = Task(Examples(*support, ways), Examples(*query, ways), number)
            with self.network.task(key):
                return functional_call(self.learner, weights, (task,)), self.network.observed()

        if len(batch) == 1:
            return _one_by_one(one, batch, noise)
        parts = (batch.support.x, batch.support.y), (batch.query.x, batch.query.y), batch.number
        with vectorised():
            observed: Observed = vmap(one, in_dims=(0, 0, 0, None if noise is None else 0))(*parts, noise)
            return observed


def _one_by_one(one: Callable[..., Observed], batch: TaskBatch, noise: Tensor | None) -> Observed:
    task = batch.single()
    key = None if noise is None else noise.squeeze(0)
    outcome, statistics = one((task.support.x, task.support.y), (task.query.x, task.query.y), task.number, key)
    rows = [(mean.unsqueeze(0), var.unsqueeze(0)) for mean, var in statistics]
    return Outcome(outcome.loss.unsqueeze(0), _rows(outcome.figures), _rows(outcome.gradient)), rows


def _rows(values: Figures) -> Figures:
    return {name: value.unsqueeze(0) for name, value in values.items()}


def _add(total: Update, figures: Figures, statistics: list[Statistics], tasks: int) -> None:
    for name, values in figures.items():
        values = values.detach()
        total.figures[name] = torch.cat([total.figures[name], values]) if name in total.figures else values
    sums = [(mean.detach().sum(0), var.detach().sum(0)) for mean, var in statistics]
    total.statistics = [
        (mean + more_mean, var + more_var)
        for (mean, var), (more_mean, more_var) in zip(total.statistics or _zeros(sums), sums, strict=True)
    ]
    total.tasks += tasks


def _zeros(statistics: list[Statistics]) -> list[Statistics]:
    return [(torch.zeros_like(mean), torch.zeros_like(var)) for mean, var in statistics]


def _gradient(loss: Tensor, weights: Weights) -> Weights:
    """The gradient, zero for weights that the loss does not use."""
    gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return {
        name: torch.zeros_like(weight) if g is None else g
        for (name, weight), g in zip(weights.items(), gradients, strict=True)
    }


def _load(batch: TaskBatch) -> int:
    """The size of a task, in examples of 28x28 pixels or fewer."""
    first = next(iter(batch.query.x.values())) if isinstance(batch.query.x, dict) else batch.query.x
    examples = size(batch.support.x, axis=1) + size(batch.query.x, axis=1)
    return examples * max(1, math.ceil(first[0, 0].numel() / PIXELS))
