"""Threads or processes for the chunks of an update, whichever takes the shorter time.

Both give the same bits, so that the choice may follow the clock: threads wait for Python's lock where chunks are many
small operators, or where another program takes a core away for a while; processes are sent what they work on. Which is
faster is seen on some updates of a run that has gone on for some seconds; all of them count.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Sequence

from metamtl.engine.plan import Pool
from metamtl.engine.processes import LostError, Processes, UnpackableError, can_start
from metamtl.engine.workers import Function, Item, Pair, Result, Workers
from metamtl.errors import UsageError

TRIALS = 3  # updates that each is timed on, after one that warms it up
WORTH = 5.0  # seconds of updates after which processes are started, which takes some seconds beside the updates


class Pools:
    """The workers of an engine, made when they are first needed."""

    def __init__(self) -> None:
        self._threads: Workers | None = None
        self._processes: Processes | None = None
        self._spent = 0.0
        self._chosen = self._lost = False  # whether processes were chosen here, and were lost since
        self._seconds: dict[Pool, list[float]] = {"threads": [], "processes": []}

    @property
    def deciding(self) -> bool:
        """Whether there have been updates to choose for."""
        return self._spent > 0

    def map(
        self, pool: Pool, count: int, function: Function[Item, Result], items: Sequence[Item], pair: Pair
    ) -> list[Result]:
        """`function` of a learner, its network and every item, by `count` workers; `auto` takes threads.

        UsageError where processes were asked for and cannot be had. Where they were chosen here, threads take over.
        """
        if pool != "processes" or self._lost:
            return self._by_threads(count, function, items, pair)
        try:
            return self._by_processes(count, function, items, pair)
        except (UnpackableError, LostError) as error:
            if self._chosen:
                warnings.warn(f"{error} This run goes on with threads.", stacklevel=2)
                self._processes, self._lost = None, True
                return self._by_threads(count, function, items, pair)
            if isinstance(error, LostError):
                raise
            raise UsageError(f"trainer.pool=processes: {error} Take trainer.pool=threads.") from error

    def tried(
        self, work: int, count: int, function: Function[Item, Result], items: Sequence[Item], pair: Pair
    ) -> tuple[list[Result], Pool]:
        """The same by the one whose turn it is, and what is known: `auto` as long as that is too little.

        `work` is the size of the update, as updates may differ.
        """
        seconds = self._seconds
        try:
            trial = self._can_try(count)
            pool: Pool = "processes" if trial and len(seconds["processes"]) < len(seconds["threads"]) else "threads"
            started = time.perf_counter()
            found = (self._by_processes if pool == "processes" else self._by_threads)(count, function, items, pair)
        except (UnpackableError, LostError):
            self._processes = None
            return self._by_threads(count, function, items, pair), "threads"
        spent = time.perf_counter() - started
        self._spent += spent
        if trial:
            seconds[pool].append(spent / work)
        if min(map(len, seconds.values())) <= TRIALS:
            return found, "auto"
        best = min(seconds, key=lambda one: statistics.median(seconds[one][1:]))
        if best == "threads":
            self._processes = None
        self._chosen = best == "processes"
        return found, best

    def _can_try(self, count: int) -> bool:
        """Whether there are processes, which a run of a few seconds has none of."""
        if self._spent > WORTH and self._processes is None:
            self._processes = _started(count)
        return self._processes is not None and self._processes.ready()

    def _by_threads(
        self, count: int, function: Function[Item, Result], items: Sequence[Item], pair: Pair
    ) -> list[Result]:
        if self._threads is None or self._threads.count != count:
            self._threads = Workers(count)
        return self._threads.map(function, items, pair)

    def _by_processes(
        self, count: int, function: Function[Item, Result], items: Sequence[Item], pair: Pair
    ) -> list[Result]:
        if self._processes is None or self._processes.count != count:
            self._processes = _started(count)
        return self._processes.map(function, items, pair)


def _started(count: int) -> Processes:
    if not can_start():
        raise UnpackableError("Python cannot start processes of its own here.")
    return Processes(count)
