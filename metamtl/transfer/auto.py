"""Auto: the strategy and the source are chosen by transferability and a small trial, and the record says why.

The choice is made before the run (`metamtl.trainer.choice`), which then has the chosen strategy beside this one; this
one carries the record of the choice into the run's knowledge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.transfer.base import Origin, Score, Strategy
from metamtl.transfer.knowledge import Knowledge

Measure = Literal["leep", "logme", "h_score"]


@register("transfer", "auto")
class Auto(Strategy):
    """`candidates` are strategies; `choice` is the record, absent until the choice was made."""

    def __init__(
        self,
        *,
        candidates: Sequence[str],
        measure: Measure,
        keep: int,
        trial_steps: int,
        examples: int,
        choice: Mapping[str, Any] | None = None,
    ) -> None:
        if choice is None:
            raise UsageError("transfer=auto chooses before a run of one family starts: leave families and sequence.")
        self.choice = dict(choice)

    def extract(self, origins: Sequence[Origin], score: Score) -> Knowledge:
        """The record alone; the strategy chosen extracts what it needs."""
        return Knowledge(provenance={"auto": self.choice})
