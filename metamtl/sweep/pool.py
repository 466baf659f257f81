"""Processes on this machine, each with a slot (a device): started, listened to, stopped; none outlives the command.

They are forked from a server that has torch imported once, and has done nothing with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from metamtl.errors import MetamtlError
from metamtl.sweep.job import Job, Outcome, Validation, work
from metamtl.sweep.probe import probe

T = TypeVar("T")
_IMPORTED = ["metamtl.config.compose", "metamtl.trainer.session", "matplotlib.backends.backend_agg"]
_LAST_SECONDS = 10.0  # between a process's last word and its end


@dataclass
class Running(Generic[T]):
    """A process, and what it is for."""

    purpose: T
    slot: int
    process: BaseProcess
    pipe: Connection
    told: bool = False  # to stop; a second signal could break what it writes at its end

    def answer(self, verdict: str | None) -> None:
        """What the sweep thinks of the validation that it was told last."""
        with suppress(OSError):  # it may have died since
            self.pipe.send(verdict)


class Pool(Generic[T]):
    """At most one process a slot; `devices`: the device of each slot, None for the config's own."""

    def __init__(self, devices: list[str | None]) -> None:
        self.devices = devices
        self.running: list[Running[T]] = []

    def free(self) -> list[int]:
        """The slots without a process."""
        busy = {running.slot for running in self.running}
        return [slot for slot in range(len(self.devices)) if slot not in busy]

    def start(self, job: Job, purpose: T, slot: int) -> None:
        """Trains in a process of its own."""
        process, pipe = _started(work, job)
        self.running.append(Running(purpose, slot, process, pipe))

    def messages(self, seconds: float) -> Iterator[tuple[Running[T], Validation | Outcome]]:
        """What is heard within `seconds`, or at once; a process that ends without a word has died."""
        by_pipe = {running.pipe: running for running in self.running}
        for pipe in wait(list(by_pipe), timeout=seconds):
            running = by_pipe[pipe]  # type: ignore[index]
            try:
                message: Validation | Outcome = running.pipe.recv()
            except (EOFError, OSError):
                message = Outcome("died", _how_it_ended(running.process))
            if isinstance(message, Outcome):
                self._remove(running)
            yield running, message

    def stop(self) -> None:
        """Has every process finish its step, save and end."""
        for running in self.running:
            if not running.told:
                running.told = True
                running.process.terminate()

    def kill(self) -> None:
        """Ends every process at once."""
        for running in self.running:
            running.process.kill()

    def _remove(self, running: Running[T]) -> None:
        running.process.join(_LAST_SECONDS)
        running.process.kill()
        running.process.join()
        running.pipe.close()
        self.running.remove(running)


def probed(config: Mapping[str, Any], config_dir: str | None) -> tuple[str, bool, list[str]]:
    """What `probe` finds; raises its error."""
    process, pipe = _started(probe, (dict(config), config_dir))
    try:
        found = pipe.recv()
    except EOFError:
        found = MetamtlError(f"The first trial could not be built. {_how_it_ended(process)}")
    process.join()
    if isinstance(found, Exception):
        raise found
    metric, higher, figures = found
    return metric, higher, figures


def _started(target: Any, argument: Any) -> tuple[BaseProcess, Connection]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # trainer.threads gives a trial more
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(argument, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _how_it_ended(process: BaseProcess) -> str:
    process.join(_LAST_SECONDS)
    code = process.exitcode
    if code is not None and code < 0:
        return f"Its process was ended by {signal.Signals(-code).name}."
    return f"Its process ended with exit code {code}."
