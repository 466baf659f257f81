"""How the tasks of an update are run: a choice that changes the speed and the last bits of a result, nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from metamtl.backbones import fused
from metamtl.backbones.norm import BatchNorm
from metamtl.data.task import TaskBatch, size
from metamtl.errors import UsageError

How = Literal["auto", "loop", "vmap", "graph"]
Memory = Literal["auto", "full", "flat"]
Pool = Literal["auto", "threads", "processes"]
Recorded = Literal["never", "try", "always", "traces"]
EXAMPLES_A_CHUNK = 640  # larger chunks were no faster (measured, Conv-4 on 28x28 images, one core)
EXAMPLE_ON_A_GPU = 16 * 2**20  # bytes of the activations that an image keeps over all passes, at most (Conv-4, 5 steps)
PIXELS = 28 * 28
_NUMBA = "pip install 'metamtl[fast]'; where it is, set NUMBA_CACHE_DIR to a folder that it may write"
VECTORS = 8  # so many short vectors, in small dense layers, count as one image


@dataclass(frozen=True)
class Plan:
    """`how` runs a task: alone, or in chunks of as many as have `examples` of 28x28 pixels or fewer.

    `workers` is the number of chunks at a time, each on a thread or in a process of its own (`pool`) whose arithmetic
    takes one thread; with one worker the arithmetic takes all threads. `memory` is whether the inner steps' graphs are
    kept or made again. "auto" of both is decided by the first updates. `graphs` is whether meta-gradients are recorded
    as CUDA graphs, where that is possible or else with an error, or on a processor as traces, where that is faster.
    `fused` is whether passes over maps are taken by compiled kernels (`metamtl.backbones.fused`).
    """

    how: Literal["loop", "vmap"]
    examples: int
    workers: int
    memory: Memory
    graphs: Recorded = "never"
    pool: Pool = "threads"
    fused: bool = False

    def chunk(self, batch: TaskBatch) -> int:
        """The tasks of a chunk of this batch; with several workers all chunks are of nearly one size."""
        tasks = len(batch)
        largest = 1 if self.how == "loop" else max(1, self.examples // load(batch))
        if self.workers == 1 or are_vectors(batch):  # Python's own work prevails, which threads do not share
            return largest
        rounds = math.ceil(tasks / (largest * self.workers))
        return math.ceil(tasks / (rounds * self.workers))

    def kernels(self, batches: Sequence[TaskBatch] = ()) -> bool:
        """Whether compiled kernels, which take one thread, serve; without batches, for a minibatch.

        Torch's own have all threads of a minibatch or a lone chunk.
        """
        return self.fused and (
            self.workers == 1 or sum(math.ceil(len(batch) / self.chunk(batch)) for batch in batches) > 1
        )

    def one_thread(self, batches: Sequence[TaskBatch]) -> bool:
        """Whether even a single chunk takes one thread: several take longer over short vectors."""
        return self.workers > 1 and all(are_vectors(batch) for batch in batches)

    def record(self) -> dict[str, Any]:
        """The plan as result.json and a checkpoint hold it."""
        return asdict(self)


def usual_plan(how: How, workers: int, memory: Memory, device: torch.device, pool: Pool = "threads") -> Plan:
    """The plan before any update; chunks were faster than the loop at every shape tried."""
    if how == "graph" and device.type != "cuda":
        raise UsageError("engine=graph records CUDA graphs, which need an NVIDIA GPU: take engine=auto.")
    if device.type != "cpu" and workers > 1:  # chunks would wait for one another, and write into one recording's inputs
        raise UsageError(f"trainer.workers={workers} are threads of the processor: on a GPU take trainer.workers=1.")
    if device.type != "cuda":
        traces: Recorded = "traces" if how == "auto" and device.type == "cpu" else "never"
        return Plan("loop" if how == "loop" else "vmap", EXAMPLES_A_CHUNK, workers, memory, traces, pool)
    examples = torch.cuda.get_device_properties(device).total_memory // EXAMPLE_ON_A_GPU
    graphs: Recorded = "always" if how == "graph" else "try" if how == "auto" else "never"
    return Plan("loop" if how == "loop" else "vmap", examples, workers, memory, graphs)


def resumed_plan(saved: Plan, usual: Plan, device: torch.device) -> Plan:
    """A checkpoint's plan; less what only its device can do, and in the pool that is asked for now.

    UsageError where it computes by numba on a processor, and numba is not there.
    """
    if device.type != "cpu":
        saved = replace(saved, fused=False)
    if saved.fused and not fused.available():
        raise UsageError(f"This run computes by numba, which has last bits of its own: {_NUMBA}.")
    saved = replace(saved, pool=usual.pool)  # which changes no bit
    on_a_gpu = [plan.graphs in ("try", "always") for plan in (saved, usual)]
    if on_a_gpu == [True, False]:
        return replace(saved, graphs=usual.graphs, examples=usual.examples)
    return replace(saved, graphs="never") if on_a_gpu == [False, True] else saved


def fuses(wanted: bool | None, learner: nn.Module, device: torch.device) -> bool:
    """Whether a learner's passes over maps are by compiled kernels; None says where that is possible.

    They are for batch normalisation of a convolutional network, on the processor. UsageError where they are asked for
    and numba cannot be had.
    """
    kinds = {type(module) for module in learner.modules()}
    if wanted is False or device.type != "cpu" or not {nn.Conv2d, BatchNorm} <= kinds:
        return False  # and numba, which takes half a second, is not imported
    if wanted and not fused.available():
        raise UsageError(
            f"trainer.fused=true needs numba, of a release that knows this Python and numpy: {_NUMBA}, or take "
            "trainer.fused=null."
        )
    return fused.available()


def workers_of(device: torch.device, threads: int | None) -> int:
    """As many workers as the process has `threads` (torch's own choice where None); one on other devices."""
    return (threads or torch.get_num_threads()) if device.type == "cpu" else 1


def load(batch: TaskBatch) -> int:
    """The size of a task, in examples of 28x28 pixels or fewer; those beside it count as its own do."""
    examples = sum(size(one.x, axis=1) for one in (batch.support, batch.query, *batch.beside.values()))
    if are_vectors(batch):
        return max(1, examples // VECTORS)
    first = next(iter(batch.query.x.values())) if isinstance(batch.query.x, dict) else batch.query.x
    return examples * max(1, math.ceil(first[0, 0].numel() / PIXELS))


def are_vectors(batch: TaskBatch) -> bool:
    """Whether examples are single vectors of numbers, and no longer than an image has pixels."""
    x = batch.query.x
    return isinstance(x, torch.Tensor) and x.is_floating_point() and x.dim() == 3 and x.shape[2] <= PIXELS
