"""The task axis: runs a learner on every task of a batch and returns the exact meta-gradient.

A batch is cut into chunks of tasks (`metamtl.engine.chunks`), which one or several threads run; every way gives the
same numbers. The meta-gradient is that of the sum over tasks, added up chunk by chunk in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from metamtl.backbones.fused import fused
from metamtl.backbones.noise import mix
from metamtl.backbones.norm import Statistics
from metamtl.data.task import Minibatch, TaskBatch, size
from metamtl.engine.chunks import run_chunk
from metamtl.engine.fitting import fitted
from metamtl.engine.graphs import Graphs
from metamtl.engine.network import Network
from metamtl.engine.plan import Plan, are_vectors, load
from metamtl.engine.pools import Pools
from metamtl.engine.traces import Traces
from metamtl.engine.update import Update
from metamtl.engine.workers import Function, one_thread

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
        self._pools = Pools()
        self._graphs, self._traces = Graphs(), Traces()

    # ---- meta-gradients ----

    def meta_gradient(self, batches: Sequence[TaskBatch]) -> Update:
        """Summed gradient of the tasks' outer losses, with the learner in training mode.

        A caller divides by the number of tasks, over all processes.
        """
        if self.plan.memory == "auto" and batches:  # a process may have no task of an update
            largest = max(batches, key=load)
            step = partial(self._step(False, self.plan.kernels(batches)), self.learner, self.network)
            self.plan = fitted(self.plan, largest, step, largest.number.device)
        differentiated = self._step(self.plan.memory == "flat", self.plan.kernels(batches))
        function: Function[TaskBatch, Update] = differentiated
        if self.plan.graphs == "traces":
            if len(batches) == 1 and are_vectors(batches[0]) and self.plan.chunk(batches[0]) >= len(batches[0]):
                function = partial(self._traces.run, differentiated)
        elif self.plan.graphs != "never":

            def function(learner: nn.Module, network: Network, batch: TaskBatch) -> Update:
                return self._graphs.run(differentiated, learner, network, batch, self.plan.graphs == "always")

        weights = _weights(self.learner)
        total = Update({}, {}, [], 0)
        for update in self._each(function, batches, trial=self.plan.pool == "auto"):
            for name, g in update.gradient.items():  # not in place: autograd may give one tensor for two weights
                before = total.gradient.get(name)
                total.gradient[name] = _laid_as(weights[name], g) if before is None else before + g
            _add(total, update.figures, update.statistics, update.tasks)
        if not total.tasks:
            total.gradient = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        return total

    def minibatch_gradient(self, minibatch: Minibatch, step: int) -> Update:
        """Summed gradient of a supervised minibatch's examples; `step` keys its noise."""
        weights = _weights(self.learner)
        key = mix(torch.tensor(step, device=minibatch.examples.labels.device), self.noise_seed)
        with fused(self.plan.kernels()), self.network.task(key):
            loss, figures, _ = self.learner(minibatch)
            gradient = _gradient(loss, weights)
            statistics = self.network.observed()
        count = size(minibatch.examples.x)
        total = Update({name: g * count for name, g in gradient.items()}, {}, [], 0)
        every = {name: value.expand(count) for name, value in figures.items()}
        rows = [(mean.expand(count, -1), var.expand(count, -1)) for mean, var in statistics]
        _add(total, every, rows, count)
        return total

    @property
    def deciding(self) -> bool:
        """Whether it is still being tried how updates like those before are run fastest."""
        return self._traces.deciding or (self.plan.pool == "auto" and self._pools.deciding)

    # ---- figures alone ----

    def evaluate(self, batches: Sequence[TaskBatch]) -> Figures:
        """Loss and metrics [T] of the tasks, without a meta-gradient, in the order of the batches."""
        total = Update({}, {}, [], 0)
        with torch.no_grad():
            for update in self._each(partial(_figures, kernels=self.plan.kernels(batches)), batches):
                _add(total, update.figures, [], update.tasks)
        return total.figures

    # ---- within ----

    def _step(self, flat: bool, kernels: bool) -> Function[TaskBatch, Update]:
        return partial(_differentiated, noise_seed=self.noise_seed, flat=flat, kernels=kernels)

    def _each(
        self, function: Function[TaskBatch, Update], batches: Sequence[TaskBatch], trial: bool = False
    ) -> Iterable[Update]:
        """What `function` gives for every chunk, in their order; a `trial` is part of the choice of a pool."""
        chunks = [part for batch in batches for part in _parts(batch, self.plan.chunk(batch))]
        pair = self.learner, self.network
        if len(chunks) == 1 and self.plan.one_thread(batches):
            with one_thread():
                return [function(*pair, chunks[0])]
        if min(self.plan.workers, len(chunks)) == 1:
            return (function(*pair, chunk) for chunk in chunks)
        if not trial or len(chunks) == 1:
            return self._pools.map(self.plan.pool, self.plan.workers, function, chunks, pair)
        work = sum(len(batch) * load(batch) for batch in batches)
        found, pool = self._pools.tried(work, self.plan.workers, function, chunks, pair)
        self.plan = replace(self.plan, pool=pool)
        return found


def _differentiated(
    learner: nn.Module, network: Network, batch: TaskBatch, *, noise_seed: int, flat: bool, kernels: bool
) -> Update:
    """The meta-gradient of a chunk, summed over its tasks; `kernels` are compiled ones, for passes over maps."""
    weights = _weights(learner)
    by = list(weights.values()) if flat else None
    with fused(kernels):  # backward too
        outcome, statistics = run_chunk(learner, network, batch, mix(batch.number, noise_seed), by)
        # inner steps move weights too that the outer update leaves as they are
        own = {name: g.sum(0) for name, g in outcome.gradient.items() if name in weights}
        # steps that are run again use the graph of what they share
        gradient = own or _gradient(outcome.loss.sum(), weights, keep=flat)
    return Update(gradient, outcome.figures, statistics, len(batch))


def _figures(learner: nn.Module, network: Network, batch: TaskBatch, *, kernels: bool) -> Update:
    """The figures of a chunk alone."""
    with fused(kernels):
        return Update({}, run_chunk(learner, network, batch, None, None)[0].figures, [], len(batch))


def _weights(learner: nn.Module) -> Weights:
    return {name: weight for name, weight in learner.named_parameters() if weight.requires_grad}


def _parts(batch: TaskBatch, tasks: int) -> Iterator[TaskBatch]:
    if 0 < len(batch) <= tasks:
        return iter([batch])
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


def _laid_as(weight: Tensor, g: Tensor) -> Tensor:
    """The slope with its numbers in the weight's order, in which optimizers are fast."""
    return g if g.stride() == weight.stride() else torch.empty_like(weight).copy_(g)


def _gradient(loss: Tensor, weights: Weights, keep: bool = False) -> Weights:
    """The gradient, zero for weights that the loss does not use."""
    gradients = torch.autograd.grad(loss, list(weights.values()), retain_graph=keep, materialize_grads=True)
    return dict(zip(weights, gradients, strict=True))
