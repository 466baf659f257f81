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

from metamtl.engine.lines import Line, packed, unpacked
from metamtl.engine.workers import Function, Item, Pair, Result, Settings, Workers
from metamtl.errors import MetamtlError


class UnpackableError(Exception):
    """What the chunks need cannot be sent to another process, or there can be none."""


class LostError(MetamtlError):
    """A process has ended in the middle of a run."""


def can_start() -> bool:
    """Whether processes can be had here, which are handed a socket as POSIX does it."""
    return os.name == "posix" and bool(sys.executable)


class Processes:
    """This process and `count` - 1 others, ended with this object; UnpackableError where they cannot be started."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._own = Workers(1)  # whose arithmetic takes one thread
        self._lines: list[Line] = []
        children: list[subprocess.Popen[bytes]] = []
        self._end = weakref.finalize(self, _end, self._lines, children)
        try:
            for _ in range(count - 1):
                ours, theirs = socket.socketpair()
                self._lines.append(Line(ours))
                with theirs:
                    children.append(_started(theirs))
        except OSError as error:  # no more processes, memory or files
            self._end()
            raise UnpackableError(f"Another process of Python could not be started: {error}.") from error
        self._waiting = list(self._lines)

    def ready(self) -> bool:
        """Whether all have started, which takes the seconds of importing torch."""
        for end in list(self._waiting):
            if select.select([end.end], [], [], 0)[0]:
                self._greeted(end)
        return not self._waiting

    def map(self, function: Function[Item, Result], items: Sequence[Item], pair: Pair) -> list[Result]:
        """`function` of a learner, its network and every item, in the items' order; all of them must be picklable.

        UnpackableError where one is not, or is not known to the other processes. LostError where a process is gone; the
        others are ended then, as they are where this one is interrupted: an answer that nobody took would be taken for
        that to the next update.
        """
        size = min(self.count, len(items))
        try:
            shared = packed((function, pair, Settings.now()))
            shares = [packed(items[number::size]) for number in range(1, size)]
        except Exception as error:  # pickle raises what it likes
            raise UnpackableError(f"This learner cannot be sent to another process: {error}.") from error
        for end in list(self._waiting):
            self._greeted(end)
        own: list[Result] = []
        failure: Exception | None = None
        try:
            for end, share in zip(self._lines, shares, strict=False):
                end.send(shared)
                end.send(share)
            try:
                own = self._own.map(function, items[::size], pair)
            except Exception as error:  # of a chunk: the others' answers are taken all the same
                failure = error
            answers = [unpacked(end.receive()) for end in self._lines[: size - 1]]
        except EOFError as error:
            self.close()
            raise LostError(
                "A process of this run has ended, as systems end them that run out of memory: take "
                "trainer.pool=threads, trainer.workers=1 or trainer.memory=flat."
            ) from error
        except BaseException:
            self.close()
            raise
        for _, failed, _ in answers:
            if failed is not None and failure is None:
                failure, where = failed
                failure.__cause__ = RuntimeError(f"in another process:\n{where}")
        if failure is not None:
            raise failure
        for _, _, told in answers:
            for message, category in told:
                warnings.warn(message, category, stacklevel=2)
        parts = [own, *(found for found, _, _ in answers)]
        return [parts[number % size][number // size] for number in range(len(items))]

    def close(self) -> None:
        """Ends the other processes."""
        self._end()

    def _greeted(self, end: Line) -> None:
        self._waiting.remove(end)
        try:
            end.receive()
        except EOFError as gone:
            self.close()
            raise UnpackableError("Another process of Python could not be started.") from gone


def _started(theirs: socket.socket) -> subprocess.Popen[bytes]:
    # by -c and with this one's path, as -m would look for every module in the current folder first
    start = "import sys; sys.path[:] = sys.argv[2:]; from metamtl.engine.serve import main; main()"
    command = [sys.executable, "-c", start, str(theirs.fileno()), *sys.path]
    # in a session of its own: a terminal's Ctrl-C is for this process, which ends an update in order
    return subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)


def _end(lines: Sequence[Line], children: Sequence[subprocess.Popen[bytes]]) -> None:
    for end in lines:
        end.end.close()
    for child in children:  # which may be in the middle of a chunk, and holds nothing
        child.kill()
        child.wait()
