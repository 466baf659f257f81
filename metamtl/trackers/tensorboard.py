"""Copies figures to TensorBoard event files in `tensorboard/` of the run folder.

It writes the records with tensorboard's own parts, which need neither TensorFlow nor torch; `tensorboard --logdir
outputs` then shows every run.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from metamtl.errors import MetamtlError
from metamtl.registry import register
from metamtl.runs.folder import RunFolder
from metamtl.runs.meta import Status


@register("logger", "tensorboard")
class TensorBoardTracker:
    """One event file for each process that trained the run, flushed after every call."""

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self._resumed = False

    def start(self, run_folder: RunFolder, config: Mapping[str, Any]) -> None:
        """Opens a new event file; raises MetamtlError where tensorboard is not installed."""
        try:
            # tensorboard ships no types
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
            from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
            from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]
        except ImportError as error:
            raise MetamtlError("tensorboard is missing: `pip install 'metamtl[tracking]'`") from error
        self._event, self._session, self._summary = Event, SessionLog, Summary
        folder = run_folder.path / "tensorboard"
        folder.mkdir(exist_ok=True)
        self._resumed = any(folder.glob("events.*"))
        self._file = _new_event_file(folder).open("xb")
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one event with all `values`."""
        if self._resumed:
            # Readers drop what an earlier process wrote from this step on, as the resumed run writes it anew.
            self._write(step=step, session_log=self._session(status=self._session.START))
            self._resumed = False
        scalars = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step=step, summary=self._summary(value=scalars))

    def finish(self, result: Mapping[str, Any] | None, status: Status) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, **content: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **content).SerializeToString())
        self._records.flush()


def _new_event_file(folder: Path) -> Path:
    # Readers take the files of a folder in the order of their names: the time comes first, to the nanosecond so that
    # two processes of one run never share a name.
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return folder / f"events.out.tfevents.{seconds:010d}.{rest:09d}.{socket.gethostname()}.{os.getpid()}"
