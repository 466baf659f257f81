"""The rows of a comparison in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metamtl.comparison.columns import Value, named
from metamtl.comparison.compare import Comparison
from metamtl.comparison.sections import Row


def sorted_by(comparison: Comparison, name: str) -> Comparison:
    """The rows of each section by the column `name`, smallest first, or with `-` before it largest first.

    What a row lacks comes last. Raises UsageError for a column that there is not.
    """
    column = named(comparison, [name.removeprefix("-")])[0]
    falling = name.startswith("-")

    def ordered(rows: Sequence[Row]) -> tuple[Row, ...]:
        values = {id(row): next(iter(column.values(row).values())) for row in rows}
        there = [row for row in rows if values[id(row)] is not None]
        absent = [row for row in rows if values[id(row)] is None]
        return (*sorted(there, key=lambda row: _comparable(values[id(row)]), reverse=falling), *absent)

    sections = tuple(replace(section, rows=ordered(section.rows)) for section in comparison.sections)
    return replace(comparison, sections=sections)


def _comparable(value: Value) -> tuple[bool, float, str]:
    """Numbers by their size, before words by the alphabet."""
    return (False, float(value), "") if isinstance(value, int | float) else (True, 0.0, str(value))
