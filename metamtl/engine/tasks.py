"""The task axis: runs a learner on every task of a batch and returns the exact meta-gradient.

A batch is cut into chunks of tasks (`metamtl.engine.chunks`), which one or several threads run; every way gives the
same numbers. The meta-gradient is that of the sum over tasks, added up chunk by chunk in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from metamtl.backbones.noise import mix
from metamtl.backbones.norm import Statistics
from metamtl.data.task import Minibatch, TaskBatch, size
from metamtl.engine.chunks import run_chunk
from metamtl.engine.fitting import fitted
from metamtl.engine.graphs import Graphs
from metamtl.engine.network import Network
from metamtl.engine.plan import Plan, load
from metamtl.engine.update import Update
from metamtl.engine.workers import Workers

Weights = dict[str, Tensor]
Figures = dict[str, Tensor]


class Engine:
    """Runs tasks as `plan` says.

    `learner` maps a task, or a supervised minibatch, to its loss and figures; `network` is the part of it that draws
    noise and keeps statistics; `noise_seed` keys the noise of meta-training.
    """

    def __init__(self, learner: nn.Module, network: Network, plan: Plan, noise_seed: int) -> None:
        self.learner, self.network, self.plan = learner, network, plan
        self.noise_seed = noise_seed
        self._threads: Workers | None = None
        self._graphs = Graphs()

    # ---- meta-gradients ----

    def meta_gradient(self, batches: Sequence[TaskBatch]) -> Update:
        """Summed gradient of the tasks' outer losses, with the learner in training mode.

        A caller divides by the number of tasks, over all processes.
        """
        weights = self._weights()

        def differentiated(learner: nn.Module, network: Network, batch: TaskBatch) -> Update:
            flat = list(weights.values()) if self.plan.memory == "flat" else None
            noise = mix(batch.number, self.noise_seed)
            outcome, statistics = run_chunk(learner, network, batch, noise, flat)
            own = {name: g.sum(0) for name, g in outcome.gradient.items()}
            # steps that are run again use the graph of what they share
            gradient = own or _gradient(outcome.loss.sum(), weights, keep=flat is not None)
            return Update(gradient, outcome.figures, statistics, len(batch))

        if self.plan.memory == "auto" and batches:  # a process may have no task of an update
            largest = max(batches, key=load)
            self.plan = fitted(
                self.plan, largest, partial(differentiated, self.learner, self.network), largest.number.device
            )
        function = differentiated
        if self.plan.graphs != "never":

            def function(learner: nn.Module, network: Network, batch: TaskBatch) -> Update:
                return self._graphs.run(differentiated, learner, network, batch, self.plan.graphs == "always")

        total = Update({name: torch.zeros_like(w) for name, w in weights.items()}, {}, [], 0)
        for update in self._each(function, batches):
            for name, g in update.gradient.items():
                total.gradient[name] += g
            _add(total, update.figures, update.statistics, update.tasks)
        return total

    def minibatch_gradient(self, minibatch: Minibatch, step: int) -> Update:
        """Summed gradient of a supervised minibatch's examples; `step` keys its noise."""
        weights = self._weights()
        with self.network.task(mix(torch.tensor(step, device=minibatch.examples.labels.device), self.noise_seed)):
            loss, figures, _ = self.learner(minibatch)
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

        def figures(learner: nn.Module, network: Network, batch: TaskBatch) -> Update:
            return Update({}, run_chunk(learner, network, batch, None, None)[0].figures, [], len(batch))

        total = Update({}, {}, [], 0)
        with torch.no_grad():
            for update in self._each(figures, batches):
                _add(total, update.figures, [], update.tasks)
        return total.figures

    # ---- within ----

    def _weights(self) -> Weights:
        return {name: weight for name, weight in self.learner.named_parameters() if weight.requires_grad}

    def _each(
        self, function: Callable[[nn.Module, Network, TaskBatch], Update], batches: Sequence[TaskBatch]
    ) -> Iterable[Update]:
        """What `function` gives for every chunk, in their order."""
        chunks = [part for batch in batches for part in _parts(batch, self.plan.chunk(batch))]
        if min(self.plan.workers, len(chunks)) == 1 and not self.plan.one_thread(batches):
            return (function(self.learner, self.network, chunk) for chunk in chunks)
        if self._threads is None or self._threads.count != self.plan.workers:
            self._threads = Workers(self.plan.workers)
        return self._threads.map(function, chunks, (self.learner, self.network))


def _parts(batch: TaskBatch, tasks: int) -> Iterator[TaskBatch]:
    return (batch.part(slice(start, start + tasks)) for start in range(0, len(batch), tasks))


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


def _gradient(loss: Tensor, weights: Weights, keep: bool = False) -> Weights:
    """The gradient, zero for weights that the loss does not use."""
    gradients = torch.autograd.grad(loss, list(weights.values()), retain_graph=keep, materialize_grads=True)
    return dict(zip(weights, gradients, strict=True))
