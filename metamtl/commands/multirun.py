"""The jobs of `metamtl train -m`: a failing one does not stop the others, a signal does, none outlives its parent.

A multirun's folder holds `<number>/` for each job, and `jobs.jsonl` with one line for each that ended: its folder,
overrides, status (completed, failed, interrupted, skipped) and the reason. `metamtl resume` takes the folder and brings
the jobs to their end that did not come to it.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from metamtl.errors import Interrupted
from metamtl.failures import record, sentence
from metamtl.registry import use_folder
from metamtl.runs.redact import redact_command, redact_text

if TYPE_CHECKING:
    from omegaconf import DictConfig

RECORD = "jobs.jsonl"
STOP = ".stop"
STATUSES = ("completed", "failed", "interrupted", "skipped")
POLL_SECONDS = 0.3
# A worker whose parent is gone may finish its step and save; then it ends, saved or not.
GRACE_SECONDS = 30.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class SweepJob:
    """What Hydra calls for each job, in this process or, pickled, in a worker; it raises nothing but reports."""

    folder: Path
    config_dir: Path | None
    train: Callable[[DictConfig, Sequence[str], Path | None, Path | None], None]
    forced: Sequence[str] = ()  # keys that Hydra was given with a `++` that the user did not write
    again: bool = False  # the multirun was stopped and goes on: some jobs have been begun, some are complete

    def __call__(self, config: DictConfig) -> None:
        """Run one job and record how it ended."""
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import Node, read_write

        composed = HydraConfig.get()
        overrides = [self._as_typed(text) for text in composed.overrides.task]
        with read_write(cast(Node, composed)):  # what Hydra holds under its own class
            composed.overrides.task = overrides
        folder = Path(composed.runtime.output_dir)
        if (self.folder / STOP).exists():
            self._record(folder, overrides, "skipped")
            return
        extra = ["--config-dir", str(self.config_dir)] if self.config_dir else []
        try:
            with _Follower.job(), _raising():
                self._carry_out(config, ["metamtl", "train", *extra, *overrides], folder)
            self._record(folder, overrides, "completed")
        except (Interrupted, KeyboardInterrupt) as error:
            stop(self.folder, error.exit_code if isinstance(error, Interrupted) else 130)
            self._record(folder, overrides, "interrupted", str(error))
        except Exception as error:
            record(error, folder)
            reason = " ".join(sentence(error).split())
            print(f"{shown(folder)}: {reason}", file=sys.stderr, flush=True)
            self._record(folder, overrides, "failed", reason)

    def _carry_out(self, config: DictConfig, command: Sequence[str], folder: Path) -> None:
        from metamtl.runs.files import read_json

        if not self.again:
            self.train(config, command, self.config_dir, folder)
        elif not (folder / "meta.json").exists():
            (folder / "config.yaml").unlink(missing_ok=True)  # all that was there when a kill came before meta.json
            self.train(config, command, self.config_dir, folder)
        elif read_json(folder / "meta.json")["status"] != "completed":
            if self.config_dir is not None:
                use_folder(self.config_dir.expanduser())
            from metamtl.trainer.run import resume_run

            resume_run(folder, command=["metamtl", "resume", str(self.folder)])

    def _as_typed(self, override: str) -> str:
        plain = override.removeprefix("++")
        return plain if plain.partition("=")[0] in self.forced else override

    def _record(self, folder: Path, overrides: Sequence[str], status: str, reason: str = "") -> None:
        line = {"folder": str(folder), "overrides": redact_command(overrides), "status": status}
        line["reason"] = redact_text(reason)
        with (self.folder / RECORD).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")  # one write: lines of several workers do not mix


def stop(folder: Path, exit_code: int) -> None:
    """Let no further job of the multirun start, and have those in workers finish their step and save."""
    with suppress(FileExistsError), (folder / STOP).open("x", encoding="utf-8") as file:  # the first reason counts
        file.write(str(exit_code))


def begin_again(folder: Path) -> None:
    """Forgets how the jobs ended when the multirun was stopped: each will be told once more."""
    for name in (RECORD, STOP):
        (folder / name).unlink(missing_ok=True)


@contextmanager
def stoppable(folder: Path) -> Iterator[None]:
    """While inside, the first signal stops the multirun in good order, and a second ends it at once."""

    def on_signal(number: int, _: FrameType | None) -> None:
        stop(folder, 128 + number)
        print("Stopping: what runs saves its state. Once more ends it at once.", file=sys.stderr, flush=True)
        signal.signal(number, previous[signal.Signals(number)])

    previous = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def no_secrets_in_hydras_record() -> Iterator[None]:
    """While inside, multirun.yaml, in which Hydra keeps the command line and hydra.job.env_set, hides keys in them."""
    from hydra._internal.core_plugins import basic_sweeper
    from omegaconf import OmegaConf

    from metamtl.runs.files import write_atomic

    class Redacting(OmegaConf):
        @staticmethod
        def save(config: Any, f: Any, resolve: bool = False) -> None:
            write_atomic(Path(f), redact_text(OmegaConf.to_yaml(config, resolve=resolve)).encode())

    module: Any = basic_sweeper
    module.OmegaConf = Redacting
    try:
        yield
    finally:
        module.OmegaConf = OmegaConf


def summary(folder: Path) -> tuple[str, int]:
    """A line of how the jobs ended, and the exit code that follows from it."""
    record_file, stop_file = folder / RECORD, folder / STOP
    lines = record_file.read_text(encoding="utf-8").splitlines() if record_file.exists() else []
    counts = Counter(json.loads(line)["status"] for line in lines)
    said = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]) or "no job ran"
    code = int(stop_file.read_text(encoding="utf-8")) if stop_file.exists() else int(counts["failed"] > 0)
    stop_file.unlink(missing_ok=True)
    advice = f" Go on with: metamtl resume {shlex.quote(shown(folder))}" if code >= 128 else ""
    return f"{shown(folder)}: {said}.{advice}", code


def shown(path: Path) -> str:
    """A path as short as it can be typed from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@contextmanager
def _raising() -> Iterator[None]:
    """Signals interrupt the job; the trainer replaces this by its own way, which saves, while it trains."""

    def on_signal(number: int, _: FrameType | None) -> None:
        raise Interrupted(f"Stopped by {signal.Signals(number).name} before training began.", number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def follow(parent: int, folder: str) -> None:
    """What a worker does first: watch its parent, and leave Ctrl-C to it, which stops the workers in good order."""
    os.setpgid(0, 0)
    threading.Thread(target=_Follower.watch, args=(parent, Path(folder) / STOP), daemon=True).start()


class _Follower:
    """A thread of a worker that hands on a stop of the multirun, and ends the worker when the parent is gone."""

    _running = False

    @classmethod
    @contextmanager
    def job(cls) -> Iterator[None]:
        cls._running = True
        try:
            yield
        finally:
            cls._running = False

    @classmethod
    def watch(cls, parent: int, stop_file: Path) -> None:
        told = False
        while os.getppid() == parent:
            if stop_file.exists() and cls._running and not told:
                told = True
                cls._interrupt()
            time.sleep(POLL_SECONDS)
        deadline = time.monotonic() + GRACE_SECONDS
        if cls._running and not told:
            cls._interrupt()
        while cls._running and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS / 3)
        os._exit(128 + signal.SIGTERM)

    @staticmethod
    def _interrupt() -> None:
        # To the main thread, whose waiting it breaks; sent to the process, this thread might take it.
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGTERM)
