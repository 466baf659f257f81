"""What pages are made of: plain records that the browser's page and the report each draw in their own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from metamtl.dashboard.view import View

STATES: Mapping[str, str] = {
    "running": "▶ running",
    "completed": "✓ completed",
    "failed": "✗ failed",
    "interrupted": "‖ interrupted",
    "pruned": "✂ pruned",
    "skipped": "- skipped",
    "lost": "? lost",
    "damaged": "! damaged",
}


@dataclass(frozen=True)
class Link:
    """Words that lead to a view."""

    text: str
    view: View


@dataclass(frozen=True)
class Progress:
    """How many of `steps` are done."""

    step: int
    steps: int | None

    @property
    def text(self) -> str:
        """`480 of 3,000`."""
        return f"{self.step:,} of {self.steps:,}" if self.steps else f"{self.step:,}"


_LONG = 60  # characters
Cell = str | Link | Progress


@dataclass(frozen=True)
class Table:
    """Rows under a head; columns in `numeric` are set flush right. `caption` says what it is, to screen readers too."""

    caption: str
    head: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    numeric: frozenset[int] = frozenset()


def side(table: Table, place: int, cell: Cell) -> str:
    """The class of a cell in the style sheet: figures flush right, sentences in several lines."""
    if place in table.numeric:
        return "number"
    return "long" if isinstance(cell, str) and len(cell) > _LONG else ""


@dataclass(frozen=True)
class Choices:
    """One choice of several: text, the view it leads to, and whether it is the present one."""

    label: str
    options: Sequence[tuple[str, View, bool]]


@dataclass(frozen=True)
class Chart:
    """A figure as plotly.js takes it (`data`, `layout`); `summary` says in words what is drawn.

    On a window narrower than `least_width` pixels it is scrolled.
    """

    title: str
    summary: str
    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    height: int = 420
    least_width: int = 0


@dataclass(frozen=True)
class Text:
    """A heading, a sentence, or a warning."""

    text: str
    kind: Literal["heading", "note", "warning"] = "note"


@dataclass(frozen=True)
class Pre:
    """Lines as they are, such as a log."""

    title: str
    text: str


@dataclass(frozen=True)
class Image:
    """A picture of the run folder as a data URI."""

    title: str
    source: str


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown when they are asked for."""

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


Block = Table | Choices | Chart | Text | Pre | Image | Folded
