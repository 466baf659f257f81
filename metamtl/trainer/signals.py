"""Asking a run to stop: the step in hand is finished and saved; a second Ctrl-C stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from metamtl.errors import Interrupted

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopRequest:
    """Remembers the first signal that asked to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def receive(self, number: int, _: FrameType | None) -> None:
        """The signal handler."""
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or number

    def check(self) -> None:
        """Raises Interrupted where a stop was asked for and nothing remains to be saved."""
        if self.signal is not None:
            raise interruption(self.signal)


def interruption(number: int) -> Interrupted:
    """The exception for a signal; SIGUSR1 (a scheduler's warning) ends with SIGTERM's exit code."""
    reported = signal.SIGTERM if number == signal.SIGUSR1 else number
    return Interrupted(f"Stopped by {signal.Signals(number).name}.", reported)


@contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """While nothing is trained yet, or any more, these signals raise Interrupted at once."""

    def receive(number: int, _: FrameType | None) -> None:
        raise interruption(number)

    with _handled_by(receive):
        yield


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """While a run trains, SIGTERM, SIGUSR1 and Ctrl-C become a request; the handlers before are put back."""
    request = StopRequest()
    with _handled_by(request.receive):
        yield request


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers there alone
        yield
        return
    before: dict[signal.Signals, Any] = {number: signal.signal(number, handler) for number in STOPPING}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
