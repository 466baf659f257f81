"""What a tracker does: it copies a run's figures to another tool. The run folder stays the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from metamtl.runs.folder import RunFolder
from metamtl.runs.meta import Status


class Tracker(Protocol):
    """One tool; `metamtl.trackers.group` calls these in order, in one thread, and survives what they raise."""

    def start(self, run_folder: RunFolder, config: Mapping[str, Any]) -> None:
        """Opens the tool for a run with its resolved `config`; on resume it is called again for the same run."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Figures such as `train/loss` after outer update `step`; steps never fall within one process."""

    def finish(self, result: Mapping[str, Any] | None, status: Status) -> None:
        """Closes the tool; `result` is result.json's content, None where the run did not get so far."""
