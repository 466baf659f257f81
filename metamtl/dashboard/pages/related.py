"""Families beside one another: figures of each group, how training one moved another, and what carried over.

The affinity of i to j is the share of j's loss that a step on i takes away (Fifty et al. 2021, equation 1). It and
other measures are read from `relatedness` in result.json (measure -> `i>j` -> figure, or measure -> i -> j -> figure),
and while a run trains from names of its stream such as `affinity/i>j`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metamtl.comparison import cached
from metamtl.comparison.figures import figures_of
from metamtl.comparison.groups import Group
from metamtl.comparison.names import distinct_parts
from metamtl.comparison.record import RunRecord
from metamtl.dashboard.blocks import Block, Chart, Folded, Text
from metamtl.dashboard.charts import layout, numbers, plain
from metamtl.dashboard.pages.curves import MOST_GROUPS, group_choices
from metamtl.dashboard.pages.headlines import of_groups, of_records
from metamtl.dashboard.streams import curves_of
from metamtl.dashboard.view import View
from metamtl.dashboard.watch import Shown, Snapshot
from metamtl.errors import MetamtlError
from metamtl.runs.folder import RunFolder
from metamtl.runs.result import Result
from metamtl.runs.units import readable

# From orange through the neutral middle to blue: signs are told apart, also by the colour-blind.
_SIGNED = [[0.0, "#D55E00"], [0.5, "#F2F2F2"], [1.0, "#0072B2"]]
_RISING = "Cividis"
_BUTTONS = ["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "autoScale2d", "resetScale2d"]
_LAST = 0.25  # of a stream: an affinity is the mean over its last quarter

Matrix = dict[tuple[str, str], float]


def page(snapshot: Snapshot, view: View) -> list[Block]:
    """The blocks of the page."""
    shown = snapshot.shown(view.where)
    groups = shown.chosen(view.groups) or _told(shown.groups)[-MOST_GROUPS:]
    maps: list[Block] = [*_families(groups), *_transfer(shown)]
    for group in groups:
        for measure, matrix in _mean_matrices(group.records).items():
            maps.append(_map(f"{measure} of {group.name}", measure, matrix, "moves", signed=True))
    if not maps:
        maps.append(Text("No run here has several families, a record of how they are related, or tests on other data."))
    return [*group_choices(shown, groups, view), *maps]


def _told(groups: Sequence[Group]) -> list[Group]:
    """The groups of several families, and those that say how they are related."""
    return [
        group
        for group in groups
        if any((record.result or Result()).get("families") for record in group.counted) or _mean_matrices(group.records)
    ]


def _families(groups: Sequence[Group]) -> list[Block]:
    """Group x family: a map a kind of figure of those that select; other figures and single types are folded away."""
    names = dict(zip(groups, distinct_parts([group.name for group in groups]), strict=True))
    found: dict[bool, dict[str, Matrix]] = {True: {}, False: {}}
    single: dict[tuple[str, str], Matrix] = {}
    for group in groups:
        ordered = of_groups([group])
        for metric in ordered.every:
            family, kind, of_type = group.counted[-1].parted(metric)
            mean = figures_of(group, metric).mean
            if of_type:
                single.setdefault((family, kind), {})[names[group], of_type] = mean
            elif family:
                found[metric in ordered.first].setdefault(kind, {})[names[group], family] = mean
    first, rest = (
        [_map(f"{kind} of each family", kind, one, "has in", signed=False) for kind, one in found[selects].items()]
        for selects in (True, False)
    )
    if not first:  # results that do not say what they select by
        first, rest = rest, []
    for (family, kind), matrix in single.items():
        title = f"{kind} of each type" + (f" of {family}" if family else "")
        rest.append(_map(title, kind, _turned(matrix), "in", signed=False))
    return [*first, *([Folded(f"{len(rest)} more maps: other figures, and single types", rest)] if rest else [])]


def _turned(matrix: Matrix) -> Matrix:
    """Columns as rows: names of dozens of types are read one below another."""
    return {(column, row): value for (row, column), value in matrix.items()}


def _transfer(shown: Shown) -> list[Block]:
    """Trained on x tested on, the mean over finished runs: where a run was tested on other data than it learned.

    Of the figures that runs select by alone: other ones of the same tests are on the page of each run.
    """
    sums: dict[str, dict[tuple[str, str], list[float]]] = {}
    wanted = of_records(shown.records).first
    for record in shown.records:
        if not record.finished:
            continue
        source, target = _source(record), str(record.settings.get("data.name", ""))
        for metric, figure in record.figures.items():
            if metric in wanted and not record.parted(metric).family and source and target:
                sums.setdefault(metric, {}).setdefault((source, target), []).append(figure["mean"])
    blocks: list[Block] = []
    for metric, cells in sums.items():
        if any(source != target for source, target in cells):
            matrix = {pair: float(np.mean(values)) for pair, values in cells.items()}
            blocks.append(
                _map(f"Transfer: {metric}, trained on row, tested on column", metric, matrix, "to", signed=False)
            )
    return blocks


def _source(record: RunRecord) -> str:
    """The data that the weights come from: those of the run that an evaluation tested."""
    if record.kind == "run":
        return str(record.settings.get("data.name", ""))
    try:
        data = cached.config(RunFolder(record.run).config_file).get("data")
    except MetamtlError:
        return ""
    return str(data.get("name", "")) if isinstance(data, dict) else ""


def _mean_matrices(records: Sequence[RunRecord]) -> dict[str, Matrix]:
    """Measure -> (i, j) -> the mean over the runs that tell it."""
    values: dict[str, dict[tuple[str, str], list[float]]] = {}
    for record in records:
        for measure, matrix in (_recorded(record) or _streamed(record)).items():
            for pair, value in matrix.items():
                values.setdefault(measure, {}).setdefault(pair, []).append(value)
    return {
        measure: {pair: float(np.mean(found)) for pair, found in pairs.items()} for measure, pairs in values.items()
    }


def _recorded(record: RunRecord) -> dict[str, Matrix]:
    """`relatedness` of result.json: measure -> `i>j` -> value, or measure -> i -> j -> value."""
    result: Mapping[str, Any] = {**(record.result or {})}
    told = result.get("relatedness")
    found: dict[str, Matrix] = {}
    for measure, pairs in told.items() if isinstance(told, dict) else ():
        for first, value in pairs.items() if isinstance(pairs, dict) else ():
            cells = (
                {f"{first}>{second}": one for second, one in value.items()}
                if isinstance(value, dict)
                else {first: value}
            )
            for pair, one in cells.items():
                if isinstance(one, int | float) and ">" in pair:
                    left, _, right = pair.partition(">")
                    found.setdefault(str(measure), {})[left, right] = float(one)
    return found


def _streamed(record: RunRecord) -> dict[str, Matrix]:
    """Of a run that trains still: the last quarter of its stream."""
    found: dict[str, Matrix] = {}
    for name, curve in curves_of(record).items():
        measure, _, pair = name.partition("/")
        if ">" in pair:
            left, _, right = pair.partition(">")
            last = curve.values[-max(1, int(curve.values.size * _LAST)) :]
            found.setdefault(measure, {})[left, right] = float(np.mean(last))
    return found


def _map(title: str, metric: str, matrix: Matrix, verb: str, signed: bool) -> Chart:
    rows, columns = (list(dict.fromkeys(pair[side] for pair in matrix)) for side in (0, 1))
    cells = np.array([[matrix.get((row, column), np.nan) for column in columns] for row in rows])
    finite = np.abs(cells[np.isfinite(cells)])
    most = float(finite.max()) if finite.size else 1.0
    trace: dict[str, Any] = {
        "type": "heatmap",
        "x": [plain(column, 40) for column in columns],
        "y": [plain(row, 40) for row in rows],
        "z": [numbers(row) for row in cells],
        "text": [["" if np.isnan(cell) else readable(metric, float(cell)) for cell in row] for row in cells],
        "texttemplate": "%{text}",
        "hovertemplate": f"%{{y}} {verb} %{{x}}: %{{text}}<extra></extra>",
        "colorscale": _SIGNED if signed else _RISING,
        "showscale": False,  # each cell says its figure
        "xgap": 2,
        "ygap": 2,
    }
    if signed:
        trace |= {"zmin": -most, "zmax": most}
    axes = layout(
        {"type": "category", "side": "top", "showgrid": False},
        {"type": "category", "autorange": "reversed", "showgrid": False},
        margin={"l": 60, "r": 20, "t": 32, "b": 12},
        modebar={"remove": _BUTTONS},  # which would stand on the names of columns
    )
    summary = f"{title}: {_counted(rows, 'row')}, {_counted(columns, 'column')}."
    return Chart(
        title,
        summary,
        [trace],
        axes,
        height=140 + max(22, 44 - len(rows)) * len(rows),
        least_width=200 + 64 * len(columns),
    )


def _counted(things: Sequence[str], word: str) -> str:
    return f"{len(things)} {word}{'s' * (len(things) != 1)}"
