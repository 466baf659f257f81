"""Several trackers at once, none of which can stop, delay or change a run.

Each tracker lives in a thread of its own and reads a queue. One that raises is reported once; one that hangs lets its
queue fill up, after which figures are dropped, reported once too; at the end all together get a bounded time.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from metamtl.registry import build
from metamtl.runs.folder import RunFolder
from metamtl.runs.meta import Status
from metamtl.runs.redact import redact_text
from metamtl.trackers.base import Tracker

FINISH_SECONDS = 60.0  # for all trackers together; enough to send the last figures over a slow line
_QUEUE_LENGTH = 10_000  # calls that wait while a tracker is slow: some minutes of logging, a few megabytes
_logger = logging.getLogger(__name__)

_Call = Callable[[], None]


class TrackerGroup:
    """The trackers of a run by name, called in the background; a tracker itself (`metamtl.trackers.base`)."""

    def __init__(
        self,
        trackers: Mapping[str, Tracker],
        finish_seconds: float = FINISH_SECONDS,
        queue_length: int = _QUEUE_LENGTH,
        warn: Callable[[str], None] = _logger.warning,
    ) -> None:
        """`warn` gets at most one sentence for each tracker; the default puts it in log.txt and on the console."""
        self._finish_seconds = finish_seconds
        self._workers = [_Worker(name, tracker, queue_length, warn) for name, tracker in trackers.items()]

    def start(self, run_folder: RunFolder, config: Mapping[str, Any]) -> None:
        """Starts every tracker without waiting for it."""
        for worker in self._workers:
            worker.start(run_folder, config)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Hands `values` to every tracker without waiting for it."""
        figures = dict(values)  # the caller may reuse its own
        for worker in self._workers:
            worker.log(step, figures)

    def finish(self, result: Mapping[str, Any] | None, status: Status) -> None:
        """Closes every tracker; returns within `finish_seconds` and leaves behind those that are not done."""
        deadline = time.monotonic() + self._finish_seconds
        for worker in self._workers:
            worker.finish(result, status)
        for worker in self._workers:
            worker.join(deadline)


def build_trackers(section: Mapping[str, Any] | None) -> TrackerGroup:
    """The trackers of the config section `logger`, keyed by name; raises UsageError for one that is not installed."""
    named = {key: options for key, options in (section or {}).items() if options is not None}
    return TrackerGroup({key: build("logger", options) for key, options in named.items()})


class _Worker:
    """One tracker, its thread and its queue."""

    def __init__(self, name: str, tracker: Tracker, length: int, warn: Callable[[str], None]) -> None:
        self._name, self._tracker, self._warn = name, tracker, warn
        self._calls: queue.Queue[_Call | None] = queue.Queue(length)
        self._warned = threading.Lock()  # held from the first warning on
        self._alive = True  # false once starting failed, or its time is over
        # A daemon: a tracker that hangs for ever must not keep the process.
        self._thread = threading.Thread(target=self._work, name=f"tracker-{name}", daemon=True)

    def start(self, run_folder: RunFolder, config: Mapping[str, Any]) -> None:
        def call() -> None:
            try:
                self._tracker.start(run_folder, config)
            except BaseException:
                self._alive = False
                raise

        self._put(call)
        self._thread.start()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._put(lambda: self._tracker.log(step, values))

    def finish(self, result: Mapping[str, Any] | None, status: Status) -> None:
        self._put(lambda: self._tracker.finish(result, status), last=True)
        self._put(None, last=True)

    def join(self, deadline: float) -> None:
        if not self._thread.ident:
            return  # never started
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._alive = False
            self._warn_once("did not finish in time and was left behind")

    def _put(self, call: _Call | None, last: bool = False) -> None:
        while self._alive or last:
            try:
                return self._calls.put_nowait(call)
            except queue.Full:
                self._warn_once("does not keep up: figures are dropped")
                if not last:
                    return None
                self._drop_oldest()
        return None

    def _drop_oldest(self) -> None:
        try:
            self._calls.get_nowait()
        except queue.Empty:
            return

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if not self._alive:
                continue
            try:
                call()
            except BaseException as error:  # SystemExit too: some tools raise it from deep inside
                self._warn_once(f"failed: {type(error).__name__}: {' '.join(str(error).split())}")

    def _warn_once(self, problem: str) -> None:
        if self._warned.acquire(blocking=False):
            self._warn(redact_text(f"The tracker {self._name} {problem}; the run and its folder are unharmed."))
