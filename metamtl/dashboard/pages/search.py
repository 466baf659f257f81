"""What the settings do to a figure: any key against it, and all keys in which the runs differ as parallel axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metamtl.comparison.names import shown_value
from metamtl.comparison.record import RunRecord
from metamtl.dashboard.blocks import Block, Chart, Folded, Text
from metamtl.dashboard.charts import COLOURS, axis_of, layout, numbers, plain
from metamtl.dashboard.pages.headlines import figure_choices, of_groups
from metamtl.dashboard.pages.parts import choices, keys_between, metric_of
from metamtl.dashboard.view import View
from metamtl.dashboard.watch import Snapshot
from metamtl.runs.metric_names import lower_is_better
from metamtl.runs.units import readable

_MOST_AXES = 8
_AXIS_WIDTH = 90  # pixels, in which the values at an axis can be read
_MOST_CHOICES = 12
_SHADES = 8
_LEAST_RATIO = 30.0  # numbers that span more are drawn on a logarithmic axis
_COSTS = {"seconds of training": ("train", "seconds"), "parameters": ("model", "parameters")}


def page(snapshot: Snapshot, view: View) -> list[Block]:
    """The blocks of the page."""
    shown = snapshot.shown(view.where)
    metric = metric_of(shown.groups, view)
    records = [record for record in shown.records if metric in record.figures]
    if metric is None or not records:
        return [Text("No run here has a test figure yet.")]
    keys = keys_between(records)
    places = [*keys, "seed", *_COSTS]
    key = view.key if view.key in places else places[0]
    options = [(place, {"key": place}, place == key) for place in places]
    few = [option for option in options[:_MOST_CHOICES] if not option[2]]
    blocks: list[Block] = [*figure_choices(of_groups(shown.groups), metric, view)]
    blocks += choices("against", [(key, {"key": key}, True), *few], view)
    if len(places) > _MOST_CHOICES:
        blocks.append(Folded(f"All {len(places)} keys in which the runs differ", choices("against", options, view)))
    blocks.append(_scatter(records, key, metric))
    if len(keys) > 1 and len(records) > 1:
        blocks.append(_parallel(records, keys[:_MOST_AXES], metric))
    if len(keys) > _MOST_AXES:
        blocks.append(Text(f"The first {_MOST_AXES} of {len(keys)} keys in which the runs differ are drawn as axes."))
    return blocks


def _value(record: RunRecord, key: str) -> Any:
    """A setting of the config, or what the run cost."""
    if key in _COSTS:
        part, name = _COSTS[key]
        found: Any = (record.result or {}).get(part, {})
        return found.get(name)
    return record.settings.get(key)


def _numeric(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _scatter(records: Sequence[RunRecord], key: str, metric: str) -> Chart:
    values = [_value(record, key) for record in records]
    figures = [record.figures[metric] for record in records]
    across: dict[str, Any] = {"title": {"text": plain(key)}}
    if _numeric(values):
        at: list[Any] = numbers(values)
        across["type"] = "log" if _spans(values) else "linear"
    else:
        at = [plain(shown_value(value)) for value in values]
        across["type"] = "category"
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": at,
        "y": numbers([figure["mean"] for figure in figures]),
        "error_y": {"array": numbers([figure["ci95"] for figure in figures]), "thickness": 1, "width": 3},
        "text": [plain(record.name) for record in records],
        "hovertemplate": "%{text}<br>%{x}: %{y}<extra></extra>",
        "marker": {"size": 9, "color": COLOURS[0], "opacity": 0.9},
        "showlegend": False,
    }
    title = f"{metric} against {key}"
    return Chart(
        title, f"Test {metric} of {len(records)} runs against {key}.", [trace], layout(across, axis_of(metric))
    )


def _spans(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) > _LEAST_RATIO


def _parallel(records: Sequence[RunRecord], keys: Sequence[str], metric: str) -> Chart:
    """Each run is a line through its settings, on axes from 0 to 1; the better its figure the more orange."""
    figures = np.array([record.figures[metric]["mean"] for record in records])
    columns = [_scaled([record.settings.get(key) for record in records]) for key in keys]
    heights = np.array([*(column[0] for column in columns), _unit(figures)])
    ranks = np.argsort(np.argsort(-figures if lower_is_better(metric) else figures))
    shades = (ranks * _SHADES // len(records)).astype(int)
    names = [*keys, metric]
    traces = [_lines(heights, shades == shade, shade, names, records) for shade in range(_SHADES)]
    ticks = [note for place, (_, ends) in enumerate(columns) for note in _ends(place, ends)]
    ticks += _ends(len(keys), tuple(readable(metric, end) for end in (np.nanmin(figures), np.nanmax(figures))))
    across = {
        "tickvals": list(range(len(names))),
        "ticktext": [plain(name, 24) for name in names],
        "range": [-0.3, len(names) - 0.6],
    }
    axes = layout(across, {"visible": False, "range": [-0.12, 1.12]}, annotations=ticks, showlegend=False)
    best = "least" if lower_is_better(metric) else "greatest"
    summary = f"{len(records)} runs through {len(keys)} settings and {metric}; orange lines have the {best}."
    drawn = [trace for trace in traces if trace["x"]]
    return Chart("Parallel coordinates", summary, drawn, axes, least_width=_AXIS_WIDTH * len(names))


def _scaled(values: Sequence[Any]) -> tuple[list[float], tuple[str, ...]]:
    """Places between 0 and 1, and what is written at the axis from its foot to its head."""
    if _numeric(values):
        numbers_of = np.array(values, dtype=np.float64)
        told = (f"{numbers_of.min():g}", f"{numbers_of.max():g}")
        return list(_unit(np.log(numbers_of) if _spans(values) else numbers_of)), told
    words = ["-" if value is None else shown_value(value) for value in values]
    kinds = sorted(set(words))
    return [kinds.index(word) / max(1, len(kinds) - 1) for word in words], tuple(kinds)


def _unit(values: np.ndarray) -> np.ndarray:
    low, high = np.nanmin(values), np.nanmax(values)
    return (values - low) / (high - low) if high > low else np.full(values.size, 0.5)


def _lines(
    heights: np.ndarray, chosen: np.ndarray, shade: int, names: Sequence[str], records: Sequence[RunRecord]
) -> dict[str, Any]:
    """One trace for all lines of a shade: hundreds of traces are slow to draw."""
    across: list[float | None] = []
    up: list[float | None] = []
    text: list[str] = []
    for place in np.flatnonzero(chosen).tolist():
        across += [*range(len(names)), None]
        up += [*numbers(heights[:, place]), None]
        text += [plain(records[place].name)] * len(names) + [""]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": across,
        "y": up,
        "text": text,
        "hovertemplate": "%{text}<extra></extra>",
        "line": {"color": _shade(shade), "width": 1.5},
        "marker": {"size": 5},
        "opacity": 0.9,
    }


def _shade(number: int) -> str:
    """From blue to orange, the ends of Okabe and Ito's colours, mixed in steps."""
    low, high = (0, 114, 178), (230, 159, 0)
    share = number / (_SHADES - 1)
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(low, high, strict=True))


def _ends(place: int, told: Sequence[str]) -> list[dict[str, Any]]:
    steps = max(1, len(told) - 1)
    shown = told if len(told) <= 6 else (told[0], told[-1])
    return [
        {
            "x": place,
            "y": told.index(text) / steps if len(told) > 1 else 0.5,
            "text": plain(text, 20),
            "showarrow": False,
            "xanchor": "right",
            "xshift": -6,
            "font": {"size": 12},
        }
        for text in shown
    ]
