"""A comparison in the terminal: what is most needed fits into 80 columns, all of it into 200."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from metamtl.comparison.columns import Column, filled
from metamtl.comparison.compare import Comparison
from metamtl.comparison.differences import differences
from metamtl.comparison.legend import legend
from metamtl.comparison.sections import Row
from metamtl.comparison.statistics import LEVEL
from metamtl.comparison.unfinished import Unfinished

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Given up one by one where the width is too small, the first first.
_DISPENSABLE = (
    "parameters",
    "p_wilcoxon",
    "tasks_per_second",
    "steps",
    "step_ms",
    "seconds",
    "validation",
    "step_ratio",
    "negative_transfer",
    "rank",
    "ci_episodes",  # the difference has an interval over the same episodes
    "p",  # and that interval tells what a star does
    "seeds",
    "ci_seeds",
)
_NARROWEST_GROUP = 16
_BETWEEN = 2


def show(
    console: Console, comparison: Comparison, columns: Sequence[Column], rest: Sequence[Unfinished], fit: bool
) -> None:
    """Prints the table, the notes, the settings in which groups differ and the runs without figures.

    With `fit`, columns that say nothing or do not fit the console's width are left out.
    """
    said = filled(comparison, columns) if fit else list(columns)
    shown = _fitting(comparison, said, console.width) if fit else said
    console.print(_table(comparison, shown))
    sentences = [*legend(comparison, shown), *comparison.notes]
    if dropped := [column.key for column in said if column not in shown]:
        sentences.append(f"Left out to fit the width: {', '.join(dropped)}.")
    for sentence in sentences:
        _line(console, sentence)
    if lines := differences(comparison):
        _heading(console, "Settings that differ, with the numbers of the rows")
        for key, values in lines:
            _line(console, (key, "cyan"), f"  {values}")
    show_unfinished(console, rest)


def show_unfinished(console: Console, rest: Sequence[Unfinished]) -> None:
    """Prints the runs without figures and their reasons; nothing where there are none."""
    if rest:
        _heading(console, "Without figures")
    for record, why in rest:
        style = "yellow" if record.state in ("running", "pruned", "skipped") else "red"
        _line(console, (record.name, "cyan"), "  ", (record.state, style), f"  {why}")


def _heading(console: Console, text: str) -> None:
    from rich.text import Text

    console.print(Text(f"\n{text}", "bold"))


def _line(console: Console, *parts: str | tuple[str, str]) -> None:
    """A line whose continuations are indented; what it says is never read as markup."""
    from rich.padding import Padding
    from rich.text import Text

    console.print(Padding(Text.assemble(*parts), (0, 0, 0, 1), expand=False))


def _table(comparison: Comparison, columns: Sequence[Column]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, _BETWEEN, 0, 0))
    for column in columns:
        table.add_column(
            column.title, justify="right" if column.numeric else "left", no_wrap=column.numeric, overflow="fold"
        )
    for number, section in enumerate(comparison.sections):
        if number:
            table.add_row()
        for row in section.rows:
            table.add_row(*[Text(column.text(row), _style(column, row)) for column in columns])
    return table


def _style(column: Column, row: Row) -> str:
    """Weight and brightness, never colour alone: what is significant has a star too."""
    if column.key == "group":
        return "bold" if row.baseline else ""
    if column.key in ("difference", "p") and row.test is not None:
        return "bold" if row.test.p_t_holm < LEVEL else "dim"
    return ""


def _fitting(comparison: Comparison, columns: Sequence[Column], width: int) -> list[Column]:
    """`columns` without as many dispensable ones as make the rest fit, names of groups folded."""
    kept = list(columns)
    for key in _DISPENSABLE:
        if _width(comparison, kept) <= width:
            break
        kept = [column for column in kept if column.key != key]
    return kept


def _width(comparison: Comparison, columns: Sequence[Column]) -> int:
    return sum(_column_width(comparison, column) + _BETWEEN for column in columns) - _BETWEEN


def _column_width(comparison: Comparison, column: Column) -> int:
    widest = max([len(column.title), *(len(column.text(row)) for row in comparison.rows)])
    return min(widest, _NARROWEST_GROUP) if column.key == "group" else widest
