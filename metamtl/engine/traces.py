"""The arithmetic of a chunk of short vectors as a list of operators, recorded once and run again without Python's part.

The operators of small dense networks take less time than Python, `vmap` and autograd take to arrive at them. A trace
(`make_fx` of torch) is the list of all operators that a meta-gradient came down to, and runs them on other tensors of
the same shapes. It repeats what was recorded, as CUDA graphs do, so that the same is refused; and it is used only where
it gives the bits of the chunk as it is run otherwise, on tasks and weights that it was not recorded with, in less time.
A recording changes how torch's modules are called, in all threads, so that it is for updates of one chunk.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from metamtl.data.task import TaskBatch
from metamtl.engine.graphs import MOST, recording_key, tensors_of, unchanging
from metamtl.engine.network import Network
from metamtl.engine.simplify import simplify
from metamtl.engine.update import Update
from metamtl.engine.workers import Function

AFTER = 1000  # updates of one shape after which it is recorded, which takes as long as 100 to 400 (measured)
TRIALS = 3  # updates that are run both ways before the trace is relied on
AGAIN = 1000  # replays after which an update is run both ways again


@dataclass
class _Shape:
    """What is known of chunks of one shape."""

    updates: int = 0
    trace: _Trace | None = None
    refused: bool = False
    seconds: list[tuple[float, float]] = field(default_factory=list)  # of a chunk as it is, and by the trace

    @property
    def reliable(self) -> bool:
        return self.trace is not None and len(self.seconds) == TRIALS


class Traces:
    """Traces of a function of chunks, by all that it depends on beside the tensors it is given."""

    def __init__(self) -> None:
        self._shapes: dict[Hashable, _Shape] = {}

    @property
    def deciding(self) -> bool:
        """Whether a shape may still come to be run by a trace."""
        return any(not (shape.refused or shape.reliable) for shape in self._shapes.values())

    def run(self, function: Function[TaskBatch, Update], learner: Any, network: Network, batch: TaskBatch) -> Update:
        """What `function` gives for the batch, by a trace where there is one to rely on."""
        key = recording_key(learner, network, batch)
        if key not in self._shapes and len(self._shapes) == MOST:
            return function(learner, network, batch)
        shape = self._shapes.setdefault(key, _Shape())
        shape.updates += 1
        if shape.trace is not None and shape.reliable and shape.updates % AGAIN:
            return shape.trace.replay(batch)
        update, spent = _timed(lambda: function(learner, network, batch))
        if shape.trace is not None:
            again, by_trace = _timed(partial(shape.trace.replay, batch))
            shape.refused = not _same(update, again)
            if not shape.reliable:
                shape.seconds.append((spent, by_trace))
                plain, traced = (statistics.median(each) for each in zip(*shape.seconds, strict=True))
                shape.refused |= shape.reliable and traced > plain
            shape.trace = None if shape.refused else shape.trace
        elif shape.updates >= AFTER and not shape.refused:
            # torch may say in many ways that there is something it cannot record; the learner runs as it did
            with suppress(Exception):
                shape.trace = _Trace(function, learner, network, batch)
            shape.refused = shape.trace is None
        return update


class _Trace:
    """The operators of a function of one chunk; the learner's weights are read where they are."""

    def __init__(self, function: Function[TaskBatch, Update], learner: Any, network: Network, batch: TaskBatch) -> None:
        self.tasks = len(batch)

        def parts(*tensors: Tensor) -> Any:
            given = iter(tensors)
            update = function(learner, network, batch.map(lambda _: next(given)))
            return update.gradient, update.figures, update.statistics

        with unchanging(learner):
            self.run = make_fx(parts)(*tensors_of(batch))
        simplify(self.run, tensors_of(batch))

    def replay(self, batch: TaskBatch) -> Update:
        """The recorded arithmetic on another batch."""
        with torch.no_grad():
            gradient, figures, statistics = self.run.forward(*tensors_of(batch))
        return Update(gradient, figures, statistics, self.tasks)


def _timed(run: Callable[[], Update]) -> tuple[Update, float]:
    started = time.perf_counter()
    return run(), time.perf_counter() - started


def _same(one: Update, other: Update) -> bool:
    """Whether all bits are the same."""
    ones, others = _all(one), _all(other)
    return len(ones) == len(others) and all(map(torch.equal, ones, others))


def _all(update: Update) -> list[Tensor]:
    return [*update.gradient.values(), *update.figures.values(), *chain(*update.statistics)]
