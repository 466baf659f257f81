"""The plain loop on as many processes as there are threads to use, each with one thread and a share of the tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, cast

import torch
import torch.multiprocessing as multiprocessing
from torch import Tensor

from metamtl.bench.peers.loop import gradient
from metamtl.bench.problem import Plain, Weights

DEVICES = ("cpu",)


@contextmanager
def stepper(plain: Plain) -> Iterator[Callable[[], Weights]]:
    """A function that computes the meta-gradient once; the others' weights and gradients are in shared memory."""
    context = multiprocessing.get_context("spawn")
    plain.network.share_memory()
    size = max(1, min(torch.get_num_threads(), len(plain)))
    mine, *others = (_share(plain, rank, size) for rank in range(size))
    lines, workers = [], []
    for other in others:
        line, end = context.Pipe()
        sums = {name: _shared(w) for name, w in plain.network.named_parameters()}
        workers.append(context.Process(target=_serve, args=(end, other, sums), daemon=True))
        workers[-1].start()
        end.close()
        lines.append((line, sums, len(other)))
    for line, _, _ in lines:
        line.recv()  # it is ready
    try:
        yield lambda: _together(plain, mine, lines)
    finally:
        for line, _, _ in lines:
            line.close()
        for worker in workers:
            worker.join()


def _shared(weight: Tensor) -> Tensor:
    storage: Any = torch.zeros_like(weight)  # torch does not type the call
    return cast(Tensor, storage.share_memory_())


def _share(plain: Plain, rank: int, size: int) -> Plain:
    a, b, c, d = (tensor[rank::size].contiguous() for tensor in plain.tasks)
    return replace(plain, tasks=(a, b, c, d))


def _together(plain: Plain, mine: Plain, others: list[tuple[Connection, Weights, int]]) -> Weights:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for line, _, _ in others:
            line.send(True)
        total = {name: g * (len(mine) / len(plain)) for name, g in gradient(mine).items()}
        for line, sums, tasks in others:
            line.recv()
            for name, g in sums.items():
                total[name] += g * (tasks / len(plain))
        return total
    finally:
        torch.set_num_threads(threads)


def _serve(line: Connection, plain: Plain, sums: Weights) -> None:
    torch.set_num_threads(1)
    line.send(True)
    while True:
        try:
            line.recv()
        except EOFError:
            return
        for name, g in gradient(plain).items():
            sums[name].copy_(g)
        line.send(True)
