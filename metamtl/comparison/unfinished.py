"""The runs that have no say in a comparison, with the reason of each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from metamtl.comparison.record import RunRecord


class Unfinished(NamedTuple):
    """A run without figures: where it is, how it stands, and why in a sentence."""

    record: RunRecord
    why: str


def unfinished(records: Iterable[RunRecord]) -> list[Unfinished]:
    """Every record that is not finished, with how far it came and what stopped it."""
    return [Unfinished(record, _why(record)) for record in records if not record.finished]


def _why(record: RunRecord) -> str:
    if record.state == "completed":
        return "It has no test figures."
    progress = record.progress() if record.kind == "run" and record.state != "damaged" else None
    steps = f" of {progress.steps:,}" if progress and progress.steps else ""
    where = (
        f"At step {progress.step:,}{steps}."
        if progress
        else "Before the first step."
        if record.kind == "run" and record.config
        else ""
    )
    return " ".join(part for part in (where, " ".join((record.reason or "").split())) if part)
