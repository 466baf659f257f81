"""Threads that run chunks of tasks at the same time.

A convolution of one task is too small to be shared out between cores; two tasks are not. Each worker's arithmetic
takes one thread (the setting is a thread's own), autograd runs backward on the thread that asks for it, and the heavy
operators release Python's lock. A pass sets weights and statistics on the network's modules, so every worker has a
copy of the learner's modules; the tensors are the learner's own. What the chunks give is added up in their order,
whichever ends first, so that an update does not depend on timing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

import torch
from torch import nn

from metamtl.engine.network import Network

Item = TypeVar("Item")
Result = TypeVar("Result")
Pair = tuple[nn.Module, Network]
Function = Callable[[nn.Module, Network, Item], Result]


@dataclass(frozen=True)
class Settings:
    """Torch's settings that are a thread's own."""

    graph: bool
    autocast: bool
    half: torch.dtype

    @staticmethod
    def now() -> Settings:
        """Those of this thread."""
        return Settings(torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"))

    @contextmanager
    def taken(self) -> Iterator[None]:
        """While this thread has them."""
        with torch.set_grad_enabled(self.graph), torch.autocast("cpu", self.half, enabled=self.autocast):
            yield


class Workers:
    """`count` threads, made when they are first needed."""

    def __init__(self, count: int) -> None:
        self.count = count
        # set anew for every thread: one that is born later would take over the last setting made anywhere
        self._pool = ThreadPoolExecutor(count, "metamtl", torch.set_num_threads, (1,))

    def map(self, function: Function[Item, Result], items: Sequence[Item], pair: Pair) -> list[Result]:
        """`function` of a learner, its network and every item, in the items' order."""
        pairs: SimpleQueue[Pair] = SimpleQueue()
        for number in range(min(self.count, len(items))):
            pairs.put(pair if number == 0 else twin(pair))
        settings = Settings.now()
        held = accumulators(pair[0])

        def run(item: Item) -> Result:
            own = pairs.get()
            try:
                with settings.taken():
                    return function(*own, item)
            finally:
                pairs.put(own)

        results = list(self._pool.map(run, items))
        del held  # not before the last thread is through
        return results


@contextmanager
def one_thread() -> Iterator[None]:
    """While arithmetic here takes one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def accumulators(learner: nn.Module) -> list[object]:
    """What keeps the nodes alive in which graphs over the learner's weights end.

    Threads that begin graphs over one weight would make its node at the same time. torch 2.13 takes the weight's lock
    for that and then Python's, where another thread that holds Python's waits for the weight's: for ever (seen).
    """
    with torch.enable_grad():
        return [weight.expand_as(weight).grad_fn for weight in learner.parameters() if weight.requires_grad]


def twin(pair: Pair) -> Pair:
    """A learner and its network as modules of their own over the same tensors."""
    learner = pair[0]
    shared = {id(tensor): tensor for tensor in (*learner.parameters(), *learner.buffers())}
    return copy.deepcopy(pair, shared)
