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
    return " ".join(part for part in (_how_far(record), " ".join((record.reason or "").split())) if part)


def _how_far(record: RunRecord) -> str:
    """`At step 480 of 3,000.`; nothing of an evaluation, or of a run of which nothing is known."""
    if record.kind == "evaluation" or not record.config:
        return ""
    progress = record.progress()
    if progress is None:
        return "Before its first step was written."
    return f"At step {progress.step:,}" + (f" of {progress.steps:,}." if progress.steps else ".")
