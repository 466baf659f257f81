"""The table of runs: how each stands, how far it has come and what it found; by itself or with those of other seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from metamtl.comparison.figures import figures_of
from metamtl.comparison.groups import Group
from metamtl.comparison.names import shown_value
from metamtl.comparison.record import RunRecord
from metamtl.dashboard.blocks import STATES, Block, Cell, Link, Progress, Table, Text
from metamtl.dashboard.pages.headlines import figure_choices, of_groups
from metamtl.dashboard.pages.parts import choices, keys_between, metric_of
from metamtl.dashboard.view import View
from metamtl.dashboard.watch import Shown, Snapshot, group_identity, identity
from metamtl.runs.units import bare, titled

_ROWS = 100  # at a time
_MOST_KEYS = 6
_ORDER = (
    "group",
    "run",
    "status",
    "progress",
    "seeds",
    "seed",
    "figure",
    "± seeds",
    "± episodes",
    "validation",
    "started",
)
_FIGURES = frozenset({"seeds", "figure", "± seeds", "± episodes", "seed", "validation"})

Value = float | str


class Row(NamedTuple):
    """The cells of a row and what they are sorted by, under the names of the columns."""

    cells: Mapping[str, Cell]
    values: Mapping[str, Value]


def page(snapshot: Snapshot, view: View) -> list[Block]:
    """The blocks of the page."""
    shown = snapshot.shown(view.where)
    if not shown.records:
        return [Text("No runs here yet. They appear as soon as they begin: metamtl train", "note")]
    metric = metric_of(shown.groups, view)
    rows = [(text, {"rows": text, "sort": ""}, view.rows == text) for text in ("groups", "runs")]
    keys = keys_between(shown.records)[:_MOST_KEYS]
    made = _of_groups(shown, metric) if view.rows == "groups" else _of_runs(shown, metric, keys)
    heading = f"{_counted(shown.records)} in {len(shown.groups)} groups; the runs of a group differ by seed alone."
    blocks: list[Block] = [Text(heading), *choices("rows", rows, view)]
    blocks += figure_choices(of_groups(shown.groups), metric, view)
    return [*blocks, *_table(_sorted(made, view.sort), metric, view), *_elsewhere(shown.groups, metric)]


def _elsewhere(groups: Sequence[Group], metric: str | None) -> list[Block]:
    """Why finished groups have an empty place: runs of several families have figures of each, and none of all."""
    finished = [group for group in groups if group.counted]
    others = sum(not any(metric in record.figures for record in group.counted) for group in finished)
    told = f"{others} of the {len(finished)} finished groups have other figures than {metric}."
    return [Text(told)] if others else []


def state_words(records: Sequence[RunRecord]) -> str:
    """`✓ completed 3, ▶ running 1`."""
    counts = Counter(record.state for record in records)
    return ", ".join(f"{STATES[state]} {count}" for state, count in counts.most_common())


def _counted(records: Sequence[RunRecord]) -> str:
    return f"{len(records):,} run{'s' if len(records) > 1 else ''} ({state_words(records)})"


def _of_groups(shown: Shown, metric: str | None) -> list[Row]:
    rows = []
    for group in shown.groups:
        view = View("curves", groups=(group_identity(group),))
        states, progress = state_words(group.records), _least_progress(group)
        cells: dict[str, Cell] = {"group": Link(group.name, view), "status": states, "progress": progress}
        values: dict[str, Value] = {"group": group.name, "status": states}
        if metric is not None and any(metric in record.figures for record in group.counted):
            figures = figures_of(group, metric)
            told = {
                "seeds": float(figures.seeds),
                "figure": figures.mean,
                "± seeds": figures.seed_interval,
                "± episodes": figures.episode_interval,
                "validation": figures.validation,
            }
            values |= told
            cells |= {name: _figure(metric, value) for name, value in told.items()}
            cells["seeds"] = str(figures.seeds)
        rows.append(Row(cells, values))
    # a run whose config cannot be read is in no group, and is not kept from sight
    return rows + [Row({**_first_cells(one)}, {"group": one.name}) for one in shown.records if not one.config]


def _first_cells(record: RunRecord) -> dict[str, Cell]:
    return {
        "group": Link(record.name, View("run", run=identity(record.path))),
        "status": STATES[record.state],
        "progress": "",
    }


def _least_progress(group: Group) -> Cell:
    """Of the seeds that train now the one that is furthest behind."""
    running = [progress for one in group.records if one.state == "running" and (progress := one.progress())]
    return Progress(*min(running, key=lambda progress: progress.step)) if running else ""


def _of_runs(shown: Shown, metric: str | None, keys: Sequence[str]) -> list[Row]:
    rows = []
    for record in shown.records:
        progress = record.progress() if record.state != "skipped" else None
        figure = record.figures.get(metric or "", None)
        validation = record.validation(metric or "")
        cells: dict[str, Cell] = {
            "run": Link(record.name, View("run", run=identity(record.path))),
            "status": STATES[record.state],
            "progress": Progress(*progress) if progress else "",
            "seed": "" if record.seed is None else str(record.seed),
            "figure": bare(metric or "", figure["mean"], figure["ci95"]) if figure else "",
            "validation": _figure(metric or "", validation),
            "started": record.started[:16].replace("T", " "),
        }
        settings = {key: shown_value(record.settings[key]) if key in record.settings else "" for key in keys}
        values: dict[str, Value] = {"run": record.name, "status": record.state, "started": record.started, **settings}
        values |= {"progress": float(progress.step)} if progress else {}
        values |= {"seed": float(record.seed)} if record.seed is not None else {}
        values |= {"figure": figure["mean"]} if figure else {}
        values |= {"validation": validation}
        rows.append(Row({**cells, **settings}, values))
    rows.reverse()  # the newest first
    return rows


def _figure(metric: str, value: float) -> str:
    return "" if math.isnan(value) else bare(metric, value)


def _sorted(rows: list[Row], name: str) -> list[Row]:
    """By the column `name`, after `-` largest first; what a row lacks comes last."""
    falling, column = name.startswith("-"), name.removeprefix("-")

    def known(row: Row) -> bool:
        value = row.values.get(column)
        return value is not None and value != "" and value == value

    there = [row for row in rows if known(row)]
    order: Callable[[Row], tuple[bool, Value]] = lambda row: (isinstance(row.values[column], str), row.values[column])  # noqa: E731
    return [*sorted(there, key=order, reverse=falling), *(row for row in rows if not known(row))] if column else rows


def _table(rows: Sequence[Row], metric: str | None, view: View) -> list[Block]:
    names = sorted(dict.fromkeys(name for row in rows for name in row.cells), key=_place)
    names = [name for name in names if any(row.cells.get(name) for row in rows)]
    titles = {"figure": titled(metric or "")}
    head = [
        Link(titles.get(name, name) + _arrow(view.sort, name), view.to(sort=_next(view.sort, name))) for name in names
    ]
    part = rows[view.start : view.start + _ROWS] or rows[:_ROWS]
    body = [[row.cells.get(name, "") for name in names] for row in part]
    numeric = frozenset(place for place, name in enumerate(names) if name in _FIGURES)
    first = [
        (f"{at + 1:,} to {min(at + _ROWS, len(rows)):,}", {"start": at}, at == view.start)
        for at in range(0, len(rows), _ROWS)
    ]
    return [
        Table(f"{'Groups' if view.rows == 'groups' else 'Runs'}", head, body, numeric),
        *choices("rows", first, view),
    ]


def _place(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _next(sort: str, name: str) -> str:
    """Figures are wanted largest first, names in the order of the alphabet; a second use turns the order."""
    if sort.removeprefix("-") == name:
        return name if sort.startswith("-") else f"-{name}"
    return f"-{name}" if name in _FIGURES else name


def _arrow(sort: str, name: str) -> str:
    if sort.removeprefix("-") != name:
        return ""
    return " ▼" if sort.startswith("-") else " ▲"
