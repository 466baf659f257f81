"""Groups against a baseline: both intervals, tests on the same episodes, and what differs in the config."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from metamtl.comparison.columns import NOTHING, Column, standard
from metamtl.comparison.compare import Comparison, compare
from metamtl.comparison.differences import differences
from metamtl.comparison.figures import episode_means
from metamtl.comparison.groups import Group, differing_keys
from metamtl.comparison.legend import legend
from metamtl.comparison.names import distinct_parts, shown_value
from metamtl.comparison.sections import Row, Section
from metamtl.comparison.unfinished import unfinished
from metamtl.dashboard.blocks import STATES, Block, Cell, Chart, Folded, Link, Table, Text
from metamtl.dashboard.charts import COLOURS, axis_of, colour, layout, numbers, plain
from metamtl.dashboard.pages.curves import group_choices
from metamtl.dashboard.pages.headlines import figure_choices, of_groups
from metamtl.dashboard.pages.parts import metric_of
from metamtl.dashboard.view import View
from metamtl.dashboard.watch import Snapshot, group_identity, identity
from metamtl.errors import MetamtlError

_MOST_DISTRIBUTIONS = 12
_MOST_COLUMNS = 12
_MOST_DRAWN = 3  # sections
_MOST_UNFINISHED = 50
_MOST_NOTES = 5


def page(snapshot: Snapshot, view: View) -> list[Block]:
    """The blocks of the page."""
    shown = snapshot.shown(view.where)
    groups = shown.chosen(view.groups) or shown.groups
    metric = metric_of(groups, view)
    if metric is None:
        return [Text("Nothing to compare yet: none of these runs is finished."), *_unfinished(shown.records)]
    baseline = next((group for group in groups if group_identity(group) == view.baseline and group.counted), None)
    if baseline is not None and not any(metric in record.figures for record in baseline.counted):
        baseline = None
    comparison = compare(groups, metric, baseline)
    blocks: list[Block] = [*figure_choices(of_groups(groups), metric, view), *group_choices(shown, groups, view)]
    several = [section for section in comparison.sections if len(section.rows) > 1]
    blocks += [_table(comparison, section.rows, _against(metric, section), view) for section in several]
    if alone := [section.rows[0] for section in comparison.sections if len(section.rows) == 1]:
        title = "of groups that met episodes of their own" if len(alone) > 1 or several else f"of {alone[0].group.name}"
        blocks.append(_table(comparison, alone, f"Test {metric} {title}", view))
    blocks += [Text(sentence) for sentence in legend(comparison, standard(comparison))]
    notes = [Text(sentence) for sentence in comparison.notes]
    blocks += notes[:_MOST_NOTES]
    if rest := notes[_MOST_NOTES:]:
        blocks.append(Folded(f"{len(rest)} more note{'s' * (len(rest) > 1)}", rest))
    for section in several[:_MOST_DRAWN] or comparison.sections[:1]:
        names = _numbered(comparison, section)
        blocks += [*_intervals(section, metric, names), *_distributions(section, metric, names)]
    return [*blocks, *_settings(comparison), *_unfinished(shown.records)]


def _table(comparison: Comparison, shown: Sequence[Row], title: str, view: View) -> Table:
    columns = [column for column in standard(comparison) if any(_says(column, row) for row in shown)]
    rows = [[_cell(column, row, view) for column in columns] for row in shown]
    numeric = frozenset(place for place, column in enumerate(columns) if column.numeric)
    return Table(title, [column.title for column in columns], rows, numeric)


def _against(metric: str, section: Section) -> str:
    return f"Test {metric}, against {section.baseline.name if section.baseline else 'no baseline'}"


def _says(column: Column, row: Row) -> bool:
    """Whether a table of rows needs a column for this one: the baseline of itself alone is none."""
    return column.text(row) != NOTHING and not (column.key == "difference" and row.baseline)


def _cell(column: Column, row: Row, view: View) -> Cell:
    """A row's group leads to the same table with it as the baseline."""
    if column.key != "group":
        return column.text(row)
    return Link(column.text(row), view.to(baseline=group_identity(row.group)))


def _intervals(section: Section, metric: str, names: Mapping[Group, str]) -> list[Block]:
    """The differences with their 95% intervals, which say more than stars."""
    tested = [row for row in section.rows if row.test is not None and math.isfinite(row.test.difference)]
    if not tested or section.baseline is None:
        return []
    tests = [row.test for row in tested if row.test is not None]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": numbers([test.difference for test in tests]),
        "y": [names[row.group] for row in tested],
        "error_x": {"array": numbers([test.high - test.difference for test in tests]), "thickness": 2, "width": 5},
        "marker": {"size": 10, "color": COLOURS[0], "symbol": "diamond"},
        "showlegend": False,
    }
    zero = {
        "type": "line",
        "x0": 0,
        "x1": 0,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": COLOURS[1], "dash": "dash"},
    }
    against = axis_of(metric) | {"title": {"text": plain(f"difference from {section.baseline.name}")}}
    axes = layout(against, {"autorange": "reversed", "type": "category"}, shapes=[zero])
    summary = f"Difference in {metric} from {section.baseline.name} on the same episodes, with 95% intervals."
    return [Chart(f"Differences from {section.baseline.name}", summary, [trace], axes, height=120 + 36 * len(tested))]


def _distributions(section: Section, metric: str, names: Mapping[Group, str]) -> list[Block]:
    """How the figures of single episodes are spread, of each group the mean over its seeds."""
    traces: list[dict[str, Any]] = []
    for number, row in enumerate(section.rows[:_MOST_DISTRIBUTIONS]):
        try:
            figures = episode_means(row.group, metric)
        except MetamtlError:
            continue
        traces.append(
            {
                "type": "violin",
                "y": numbers(figures),
                "name": names[row.group],
                "line": {"color": colour(number), "width": 1.5},
                "box": {"visible": True},
                "meanline": {"visible": True},
                "spanmode": "hard",  # no accuracy above 100%
                "points": False,
            }
        )
    if not traces:
        return []
    axes = layout({}, axis_of(metric), showlegend=False)
    groups = "1 group" if len(traces) == 1 else f"{len(traces)} groups"
    summary = f"{metric} of single test episodes in {groups}, each the mean over seeds; the box holds half."
    return [Chart(f"Single episodes, {metric}", summary, traces, axes)]


def _numbered(comparison: Comparison, section: Section) -> dict[Group, str]:
    """Names for an axis, of what differs, with the numbers of the table's rows, since cut names may be equal."""
    places = {row.group: number for number, row in enumerate(comparison.rows, 1)}
    groups = [row.group for row in section.rows]
    names = distinct_parts([group.name for group in groups])
    return {group: f"{places[group]} {plain(name, 32)}" for group, name in zip(groups, names, strict=True)}


def _settings(comparison: Comparison) -> list[Block]:
    """The keys in which the groups differ: a column a group, or where there are many a line of values."""
    groups = [row.group for row in comparison.rows]
    keys = differing_keys([group.settings for group in groups])
    if not keys:
        return []
    if len(groups) > _MOST_COLUMNS:
        return [Table("Settings that differ, with the numbers of the rows", ["key", "values"], differences(comparison))]
    rows = [[key, *(_setting(group, key) for group in groups)] for key in keys]
    return [Table("Settings that differ", ["key", *(group.name for group in groups)], rows)]


def _setting(group: Group, key: str) -> str:
    return shown_value(group.settings[key]) if key in group.settings else "-"


def _unfinished(records: Sequence[Any]) -> list[Block]:
    rest = unfinished(records)
    rows: list[list[Cell]] = [
        [Link(one.record.name, View("run", run=identity(one.record.path))), STATES[one.record.state], one.why]
        for one in rest[:_MOST_UNFINISHED]
    ]
    told = "" if len(rest) <= _MOST_UNFINISHED else f", the first {_MOST_UNFINISHED} of {len(rest)}"
    return [Table(f"Without figures{told}", ["run", "status", "why"], rows)] if rows else []
