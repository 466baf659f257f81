"""Processes that run chunks of tasks at the same time, where threads would wait for Python's lock.

They get at each update the learner as it is then and their share of the chunks: nothing is kept in them, as in the
copies that threads work on. Each one's arithmetic takes one thread, as a thread's does, and what the chunks give is
added up in their order, so that an update has the same bits as with threads.

They are programs of their own (`metamtl.engine.serve`) and not forks: MKL's allocator, and any other library's locks,
may be held by another thread at the moment of a fork, and the child then waits for ever (seen).
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import warnings
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from metamtl.engine.lines import Line, packed, unpacked
from metamtl.engine.workers import Function, Item, Pair, Result, Settings, Workers
from metamtl.errors import MetamtlError


class UnpackableError(Exception):
    """What the chunks need cannot be sent to another process, or there can be none."""


def can_start() -> bool:
    """Whether processes can be had here, which are handed a socket as POSIX does it."""
    return os.name == "posix" and bool(sys.executable)


class Processes:
    """This process and `count` - 1 others, started here and ended with this object."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._own = Workers(1)  # whose arithmetic takes one thread
        self._lines: list[Line] = []
        children: list[subprocess.Popen[bytes]] = []
        for _ in range(count - 1):
            ours, theirs = socket.socketpair()
            with theirs:
                command = [sys.executable, "-m", "metamtl.engine.serve", str(theirs.fileno())]
                # in a session of its own: a terminal's Ctrl-C is for this process, which ends an update in order
                child = subprocess.Popen(
                    command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
                )
            children.append(child)
            self._lines.append(Line(ours))
            self._lines[-1].send(packed(sys.path))
        self._waiting = list(self._lines)
        self._end = weakref.finalize(self, _end, self._lines, children)

    def ready(self) -> bool:
        """Whether all have started, which takes the seconds of importing torch."""
        for end in list(self._waiting):
            if select.select([end.end], [], [], 0)[0]:
                self._greeted(end)
        return not self._waiting

    def map(self, function: Function[Item, Result], items: Sequence[Item], pair: Pair) -> list[Result]:
        """`function` of a learner, its network and every item, in the items' order; all of them must be picklable.

        UnpackableError where one is not, or is not known to the other processes.
        """
        size = min(self.count, len(items))
        try:
            shared = packed((function, pair, Settings.now()))
            shares = [packed(items[number::size]) for number in range(1, size)]
        except Exception as error:  # pickle raises what it likes
            raise UnpackableError(f"This learner cannot be sent to another process: {error}.") from error
        for end in list(self._waiting):
            self._greeted(end)
        for end, share in zip(self._lines, shares, strict=False):
            end.send(shared)
            end.send(share)
        own: list[Result] = []
        failures: list[BaseException] = []
        try:
            own = self._own.map(function, items[::size], pair)
        except (
            BaseException
        ) as error:  # the others are waited for all the same: their next answer is to the next update
            failures.append(error)
        parts = [own]
        for end in self._lines[: size - 1]:
            found, failure, told = _received(end)
            parts.append(found)
            failures += [] if failure is None else [failure]
            for message, category in told:
                warnings.warn(message, category, stacklevel=2)
        if failures:
            raise failures[0]
        return [parts[number % size][number // size] for number in range(len(items))]

    def _greeted(self, end: Line) -> None:
        self._waiting.remove(end)
        try:
            end.receive()
        except EOFError as gone:
            raise UnpackableError("Another process of Python could not be started.") from gone


def _received(end: Line) -> Any:
    try:
        return unpacked(end.receive())
    except EOFError as gone:
        raise MetamtlError(
            "A process of this run has ended, as systems end them that run out of memory: take trainer.pool=threads, "
            "trainer.workers=1 or trainer.memory=flat."
        ) from gone


def _end(lines: Sequence[Line], children: Sequence[subprocess.Popen[bytes]]) -> None:
    for end in lines:
        with suppress(OSError):
            end.end.shutdown(socket.SHUT_RDWR)
        end.end.close()
    for child in children:
        child.wait()
