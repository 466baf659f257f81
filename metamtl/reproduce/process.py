"""metamtl in a process of its own, which ends with this one and is told to stop when this one is."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from metamtl.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Jobs:
    """Runs jobs one after another; inside `stoppable` a signal ends the one in hand in good order and all after it."""

    def __init__(self) -> None:
        self._stopped: int | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def run(self, arguments: Sequence[str]) -> int:
        """`metamtl ARGUMENTS` to its end; its exit code. Raises Interrupted where a signal came."""
        self._check()
        with subprocess.Popen(
            [sys.executable, "-m", "metamtl", *arguments],
            stdin=subprocess.DEVNULL,
            preexec_fn=_dying_with_parent(),
            start_new_session=True,  # Ctrl-C reaches it through us alone
        ) as child:
            self._child = child
            code = child.wait()
            self._child = None
        self._check()
        return code

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Handlers that hand a signal on; those before are put back."""
        before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        self._stopped = self._stopped or number
        if self._child is not None:
            self._child.send_signal(number)

    def _check(self) -> None:
        if self._stopped is not None:
            name = signal.Signals(self._stopped).name
            raise Interrupted(f"Stopped by {name}; the same command goes on from here.", self._stopped)


def _dying_with_parent() -> Callable[[], None] | None:
    """On Linux, the kernel tells the child to stop when its parent is killed: it saves, and the lock is free again."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask
