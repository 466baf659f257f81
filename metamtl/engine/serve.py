"""The other side of `metamtl.engine.processes`: a program that runs the chunks it is sent until its line ends."""

from __future__ import annotations

import signal
import socket
import sys
import traceback
import warnings
from contextlib import suppress
from typing import Any

from metamtl.engine.lines import Line, packed, unpacked


def main() -> None:
    """Serves the socket whose number is this program's first argument."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):  # the other side hears them, and ends in order
        signal.signal(number, signal.SIG_IGN)
    line = Line(socket.socket(fileno=int(sys.argv[1])))
    with suppress(EOFError):
        _prepare()
        line.send(packed(None))
        while True:
            shared, share = line.receive(), line.receive()
            line.send(_served(shared, share))


def _prepare() -> None:
    """Imports what takes seconds, and sets what is a process's own."""
    import torch
    from torch import _dynamo  # noqa: F401  torch.func imports it when first used

    from metamtl.engine.memory import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()


def _served(shared: bytearray, share: bytearray) -> bytes:
    """What a function gave for every item of a share, or what it raised with its traceback; and its warnings."""
    found: list[Any] = []
    failure: tuple[Exception, str] | None = None
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        try:
            try:
                function, pair, settings = unpacked(shared)
                items = unpacked(share)
            except Exception as error:  # modules that are known to the other process alone
                from metamtl.engine.processes import UnpackableError

                raise UnpackableError(f"This learner cannot be made again in another process: {error}.") from error
            with settings.taken():
                found = [function(*pair, item) for item in items]
        except Exception as error:
            failure = _sendable(error), traceback.format_exc()
    said = [(str(warning.message), warning.category) for warning in told]
    try:
        return packed((found, failure, said))
    except Exception as error:
        return packed(([], (RuntimeError(f"{error}"), traceback.format_exc()), []))


def _sendable(error: Exception) -> Exception:
    """The error, or its words where it cannot be made again from what it holds."""
    try:
        unpacked(packed(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
