"""The arithmetic of a chunk as one CUDA graph, recorded once for each shape and replayed afterwards.

A meta-gradient of small networks is thousands of short kernels, which Python hands over more slowly than a GPU runs
them. A replay hands over all of them at once. It repeats what was recorded, to the bit: whatever else a pass depends on
has to be part of the key, or has to be refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from metamtl.data.task import TaskBatch
from metamtl.engine.network import Network
from metamtl.engine.update import Update
from metamtl.errors import UsageError

MOST = 16  # recordings, each of which keeps memory of its own; further shapes run as they are
WARM_UPS = 3  # passes before a recording, in which libraries choose their kernels and take their memory
Function = Callable[[nn.Module, Network, TaskBatch], Update]


class Graphs:
    """Recordings of a function of chunks, by all that it depends on beside the tensors it is given."""

    def __init__(self) -> None:
        self._recordings: dict[Hashable, _Recording | None] = {}  # None: it could not be recorded

    def run(self, function: Function, learner: Any, network: Network, batch: TaskBatch, always: bool) -> Update:
        """What `function` gives for the batch, replayed where such a batch has been met before.

        What cannot be recorded is an error, or is run as it is where recording is not `always` asked for.
        """
        key = recording_key(learner, network, batch)
        if key not in self._recordings and len(self._recordings) < MOST:
            try:
                self._recordings[key] = _Recording(function, learner, network, batch)
            except (UsageError, RuntimeError) as error:
                if always:
                    raise
                warnings.warn(f"engine=auto runs without CUDA graphs, which are faster: {error}", stacklevel=2)
                self._recordings[key] = None
        recording = self._recordings.get(key)
        return function(learner, network, batch) if recording is None else recording.replay(batch)


class _Recording:
    def __init__(self, function: Function, learner: Any, network: Network, batch: TaskBatch) -> None:
        if torch.is_autocast_enabled("cuda"):  # it casts a weight once a pass and keeps the copy, which a replay reads
            raise UsageError("A recording would keep the weights' copies in bfloat16: take engine=loop, not graph.")
        self.batch = batch.map(torch.clone)
        with unchanging(learner):
            beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(WARM_UPS):
                    function(learner, network, self.batch)
            torch.cuda.current_stream().wait_stream(beside)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.update = function(learner, network, self.batch)

    def replay(self, batch: TaskBatch) -> Update:
        """The recorded arithmetic on another batch; its results are the caller's own."""
        for static, new in zip(tensors_of(self.batch), tensors_of(batch), strict=True):
            static.copy_(new)
        self.graph.replay()
        return self.update.map(torch.clone)


class _Changing:
    """In the place of the share of updates that are done: a recording would keep it for ever."""

    def _refuse(self, *_: object) -> Any:
        raise UsageError("This learner's arithmetic changes in the course of training: take engine=vmap, not graph.")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __bool__ = __int__ = __float__ = __round__ = __format__ = __neg__ = __pos__ = __abs__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _refuse


def tensors_of(batch: TaskBatch) -> list[Tensor]:
    """All tensors of a batch, in a fixed order."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    batch.map(keep)
    return found


def recording_key(learner: Any, network: Network, batch: TaskBatch) -> Hashable:
    """What a recording depends on beside the numbers of its tensors."""
    shapes = tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors_of(batch))
    beside = tuple((name, examples.ways) for name, examples in batch.beside.items())
    weights = tuple((name, id(weight), weight.requires_grad) for name, weight in learner.named_parameters())
    return shapes, batch.support.ways, beside, learner.stage, network.transductive, weights


@contextmanager
def unchanging(learner: Any) -> Iterator[None]:
    """While a learner is recorded: UsageError where its arithmetic changes in the course of training."""
    if learner.terms:
        raise UsageError("Penalties of transfer may change in the course of training: take engine=vmap, not graph.")
    progress, learner.progress = learner.progress, _Changing()
    try:
        yield
    finally:
        learner.progress = progress
