"""The settings in which compared groups differ, a line each."""

from __future__ import annotations

from metamtl.comparison.compare import Comparison
from metamtl.comparison.groups import differing_keys
from metamtl.comparison.names import whole_value


def differences(comparison: Comparison) -> list[tuple[str, str]]:
    """Key -> `0.4 (1-3), 0.1 (4)`, the numbers those of the rows that have the value; [] for one group."""
    groups = [row.group for row in comparison.rows]
    lines = []
    for key in differing_keys([group.settings for group in groups]):
        whose: dict[str, list[int]] = {}
        for number, group in enumerate(groups, 1):
            if key in group.settings:
                whose.setdefault(whole_value(group.settings[key]), []).append(number)
        lines.append((key, ", ".join(f"{value} ({_ranges(numbers)})" for value, numbers in whose.items())))
    return lines


def _ranges(numbers: list[int]) -> str:
    """`1-3 5`, of numbers that rise."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return " ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
