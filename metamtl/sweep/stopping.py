"""Signals to a sweep: the first one stops it in good order, a second ends it at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from metamtl.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # USR1, USR2: a scheduler's warning


class Stop:
    """Remembers the signal that asked to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def receive(self, number: int, _: FrameType | None) -> None:
        """The signal handler."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number

    def interruption(self, advice: str) -> Interrupted:
        """The exception that ends the command, with what goes on."""
        assert self.signal is not None
        code = self.signal if self.signal == signal.SIGINT else signal.SIGTERM
        return Interrupted(f"Stopped by {signal.Signals(self.signal).name}. {advice}", code)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """While inside, signals are remembered; the handlers before are put back."""
    stop = Stop()
    before = {number: signal.signal(number, stop.receive) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
