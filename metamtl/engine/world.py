"""Several processes started by torchrun: each takes other episodes, all hold the same weights.

An update costs one all-reduce of one flat buffer: gradients, statistics and figures together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from metamtl.errors import MetamtlError


class World:
    """The processes of a run; a world of one needs no torch.distributed."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        """Whether this is the process that writes the run folder."""
        return self.rank == 0

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor summed over the processes, in one exchange; all must be of one floating-point type."""
        if self.size == 1:
            return list(tensors)
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _together():
            dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _together():
            dist.all_gather_object(values, value)
        return values

    def from_first(self, value: Any) -> Any:
        """The first process's value, on every process."""
        return self.gather(value)[0]


@contextmanager
def _together() -> Iterator[None]:
    """An exchange fails where another process has ended; its own message says why."""
    try:
        yield
    except RuntimeError as error:
        raise MetamtlError("Another process of this run has stopped, so this one stops too.") from error


@contextmanager
def join_world() -> Iterator[World]:
    """The world that torchrun's environment describes, left again at the end; a world of one without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(0, 1)
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    # both backends: tensors on a GPU by nccl, objects and CPU tensors by gloo
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield World(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
