"""Curves over one another: a line a group, the mean of its seeds, and the band between the least and the greatest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from metamtl.comparison.groups import Group
from metamtl.comparison.names import distinct_parts
from metamtl.comparison.record import RunRecord
from metamtl.dashboard.blocks import Block, Chart, Folded, Table, Text
from metamtl.dashboard.charts import axis_of, colour, dash, faint, layout, numbers, plain
from metamtl.dashboard.pages.headlines import Ordered, figure_choices, of_streams
from metamtl.dashboard.pages.parts import choices, metric_of
from metamtl.dashboard.streams import Band, band, curves_of, smoothed
from metamtl.dashboard.view import SMOOTHINGS, View
from metamtl.dashboard.watch import Shown, Snapshot, group_identity
from metamtl.runs.units import bare, unit_of

MOST_GROUPS = 7  # as many as there are colours, when none are chosen
_MOST_CHOICES = 60
_MOST_SEEDS = 10


class Line(NamedTuple):
    """A group's curve under what tells its name from the others', with its place among the colours."""

    name: str
    seeds: int
    band: Band
    number: int


def page(snapshot: Snapshot, view: View) -> list[Block]:
    """The blocks of the page."""
    shown = snapshot.shown(view.where)
    groups = chosen_groups(shown, view)
    if not groups:
        return [Text("No runs here yet.")]
    metric, names = stream_metric(groups, view)
    if metric is None:
        return [*group_choices(shown, groups, view), Text("None of these runs has written a figure yet.")]
    controls: list[Block] = [
        *figure_choices(names, metric, view),
        *choices("over", [("step", {"x": "step"}, view.x == "step"), ("time", {"x": "time"}, view.x == "time")], view),
        *choices("smoothing", [(weight, {"smooth": weight}, view.smooth == weight) for weight in SMOOTHINGS], view),
        *choices("logarithmic", [(t or "none", {"log": t}, view.log == t) for t in ("", "x", "y", "xy")], view),
        *choices("band over seeds", [(t, {"band": t}, view.band == t) for t in ("range", "none")], view),
        *group_choices(shown, groups, view),
    ]
    return [*controls, *drawn(groups, metric, view)]


def drawn(groups: Sequence[Group], metric: str, view: View) -> list[Block]:
    """The chart of one metric, and its ends as a table."""
    names = distinct_parts([group.name for group in groups])
    pairs = enumerate(zip(groups, names, strict=True))
    made = [_line(group, name, metric, view, number) for number, (group, name) in pairs]
    lines = [line for line in made if line is not None]
    if not lines:
        why = " Their streams do not say the time." if view.x == "time" else ""
        return [Text(f"None of these runs has a curve of {metric}.{why}")]
    across = "seconds of training" if view.x == "time" else "outer updates"
    axes = layout(
        {"title": {"text": across}, "type": "log" if "x" in view.log else "linear"},
        {**axis_of(metric), "type": "log" if "y" in view.log else "linear"},
    )
    traces = [trace for line in lines for trace in _traces(line, metric, view)]
    summary = f"{metric} over {across} of {len(lines)} groups; the ends are in the table below."
    return [Chart(metric, summary, traces, axes, height=480), _ends(lines, metric, across), *_notes(groups, view)]


def chosen_groups(shown: Shown, view: View) -> list[Group]:
    """Those that the view names, otherwise the newest."""
    return shown.chosen(view.groups) or shown.groups[-MOST_GROUPS:]


def stream_metric(groups: Sequence[Group], view: View) -> tuple[str | None, Ordered]:
    """The name of the stream that is drawn, and all there are; a validation is better to look at than a loss."""
    ordered = of_streams([curves_of(record) for group in groups for record in _counted(group)[:2]])
    names = ordered.every
    selected = metric_of(groups, view)
    wanted = (view.metric, f"val/{selected}", "val/accuracy", "train/loss")
    return next((name for name in wanted if name in names), names[0] if names else None), ordered


def group_choices(shown: Shown, groups: Sequence[Group], view: View) -> list[Block]:
    """A link a group that takes it in or leaves it out."""
    there = [group_identity(group) for group in groups]
    options = []
    for group in shown.groups[:_MOST_CHOICES]:
        one = group_identity(group)
        others = tuple(other for other in there if other != one) if one in there else (*there, one)
        options.append((group.name, {"groups": others}, one in there))
    links = choices("groups", options, view)
    return [Folded(f"{len(there)} of {len(shown.groups)} groups are shown: choose", links)] if links else []


def _counted(group: Group) -> list[RunRecord]:
    """The newest run of each seed, the newest seeds where there are many."""
    return list({record.seed: record for record in group.records if record.state != "skipped"}.values())[-_MOST_SEEDS:]


def _line(group: Group, name: str, metric: str, view: View, number: int) -> Line | None:
    found = []
    for record in _counted(group):
        curve = curves_of(record).get(metric)
        if curve is None:
            continue
        at = curve.seconds if view.x == "time" else curve.steps
        known = np.isfinite(at) & np.isfinite(curve.values)
        if known.any():
            found.append((at[known], smoothed(curve.values[known], float(view.smooth))))
    return Line(name, len(found), band(found), number) if found else None


def _traces(line: Line, metric: str, view: View) -> list[dict[str, Any]]:
    shade, name = colour(line.number), plain(f"{line.name} ({line.seeds} seed{'s' * (line.seeds > 1)})")
    at, few = numbers(line.band.at), line.band.at.size < 40
    mean = {
        "type": "scatter",
        "mode": "lines+markers" if few else "lines",
        "x": at,
        "y": numbers(line.band.mean),
        "name": name,
        "legendgroup": str(line.number),
        "line": {"color": shade, "width": 2, "dash": dash(line.number)},
        "marker": {"size": 5},
    }
    if view.band == "none" or line.seeds < 2:
        return [mean]
    edge = {"type": "scatter", "mode": "lines", "x": at, "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    low = {**edge, "y": numbers(line.band.low), "legendgroup": str(line.number)}
    high = {**low, "y": numbers(line.band.high), "fill": "tonexty", "fillcolor": faint(shade, 0.2)}
    return [low, high, mean]


def _ends(lines: Sequence[Line], metric: str, across: str) -> Table:
    name = metric.partition("/")[2]
    rows = [
        [
            line.name,
            str(line.seeds),
            f"{line.band.at[-1]:,.0f}",
            bare(name, float(line.band.mean[-1])),
            bare(name, float(line.band.low[-1])),
            bare(name, float(line.band.high[-1])),
        ]
        for line in lines
    ]
    head = ["group", "seeds", across, "mean", "least", "greatest"]
    unit = ", in %" if unit_of(name) else ""
    return Table(f"{metric} at the end of each curve{unit}", head, rows, frozenset(range(1, 6)))


def _notes(groups: Sequence[Group], view: View) -> list[Block]:
    notes = ["A curve has about 500 points: of longer streams lines at equal distances are drawn."]
    if not view.groups and len(groups) == MOST_GROUPS:
        notes.append(f"The newest {MOST_GROUPS} groups are drawn; choose others above.")
    if any(len({record.seed for record in group.records}) > _MOST_SEEDS for group in groups):
        notes.append(f"Of a group the newest {_MOST_SEEDS} seeds are drawn.")
    return [Text(note) for note in notes]
