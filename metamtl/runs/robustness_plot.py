"""How the figure of a run falls as inputs get worse and labels wrong, as a picture."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metamtl.runs.figures import BLUE, GREEN, INK, ORANGE, SKY, clear, write_png
from metamtl.runs.folder import RunFolder
from metamtl.runs.metric_names import base_name, in_percent
from metamtl.runs.panels import add_legend
from metamtl.runs.result import Record, read_result

if TYPE_CHECKING:  # matplotlib takes half a second, which only a run that draws should pay
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_AXES = {
    "noise": "noise, standard deviations of the inputs",
    "blur": "blur, share of a picture's side",
    "rotation": "rotation, degrees",
    "support_labels": "share of wrong support labels",
}
_COLOURS = (BLUE, ORANGE, GREEN, SKY, INK)
_ENTRY_WIDTH, _ENTRY_HEIGHT = 2.1, 0.2  # inches that a family takes in the legend
_CHARACTER = 0.088  # inches that a character of the title takes
Families = Mapping[str, Record]


def plot_robustness(run: RunFolder) -> Path | None:
    """Draws plots/robustness.png, a panel for each disturbance and a line for each family; None where none was made.

    All shares are in percent, in one row of panels; each other metric has a row of its own, in its own unit. Of a run
    with references, each family alone is a broken line of the same colour.
    """
    result = read_result(run)
    records: Families = result.get("families") or {"": result}
    found = {name: record for name, record in records.items() if record.get("robustness")}
    alone = result.get("references", {}).get("robustness", {})
    kinds = [kind for kind in _AXES if any(kind in record["robustness"] for record in found.values())]
    if not kinds:
        return None
    return write_png(_draw(run.path.name, found, kinds, alone), run.plots / "robustness.png")


def _draw(name: str, found: Families, kinds: Sequence[str], alone: Mapping[str, Any]) -> Figure:
    from matplotlib.figure import Figure

    rows = _by_unit(found)
    width = max(5.2, 2.9 * len(kinds) + 0.6)
    columns = int(width / _ENTRY_WIDTH)
    broken = "; broken: each alone" if alone else ""
    title = textwrap.wrap(f"{name}, under disturbances, 95% intervals{broken}", int(width / _CHARACTER))
    height = 0.2 + 0.2 * len(title) + 2.9 * len(rows) + _ENTRY_HEIGHT * math.ceil(len(found) / columns)
    figure = Figure(figsize=(width, height), dpi=160, layout="constrained")
    axes = figure.subplots(len(rows), len(kinds), sharey="row", squeeze=False)
    colours = dict(zip(found, _COLOURS * len(found), strict=False))
    for panels, (unit, families) in zip(axes, rows.items(), strict=True):
        for panel, kind in zip(panels, kinds, strict=True):
            _draw_panel(panel, kind, families, colours)
            _draw_alone(panel, kind, {name: alone[name] for name in families if name in alone}, families, colours)
        first = next(panel for panel in panels if panel.get_visible())
        first.set_ylabel(unit, fontsize=9, color=INK)
        first.tick_params(labelleft=True)
    figure.suptitle("\n".join(title), x=0.012, ha="left", fontsize=11)
    add_legend(figure, axes.flat, columns)
    return figure


def _by_unit(found: Families) -> dict[str, dict[str, Record]]:
    """The families that one vertical axis can show, under what the axis is called."""
    shares = {name: record for name, record in found.items() if in_percent(record["metric"])}
    rows: dict[str, dict[str, Record]] = {}
    if shares:
        rows[f"{', '.join(dict.fromkeys(base_name(one['metric']) for one in shares.values()))} (%)"] = shares
    for name, record in found.items():
        if name not in shares:
            rows.setdefault(base_name(record["metric"]), {})[name] = record
    return rows


def _draw_panel(panel: Axes, kind: str, families: Families, colours: Mapping[str, str]) -> None:
    clear(panel)
    panel.set_xlabel(_AXES[kind], fontsize=9, color=INK)
    panel.set_visible(any(kind in record["robustness"] for record in families.values()))
    for name, record in families.items():
        if kind in record["robustness"]:
            label = f"{name} {record['metric']}".strip()
            _line(panel, record["robustness"][kind], colours[name], label, in_percent(record["metric"]))


def _draw_alone(
    panel: Axes, kind: str, alone: Mapping[str, Any], families: Families, colours: Mapping[str, str]
) -> None:
    """Means of the same tests, of each family's reference; intervals are those of the lines together, or like them."""
    for name, kinds in alone.items():
        if kind in kinds:
            points = kinds[kind]["points"]
            scale = 100 if in_percent(families[name]["metric"]) else 1
            means = [scale * point["alone"]["mean"] for point in points]
            panel.plot([point["severity"] for point in points], means, color=colours[name], linestyle="--", linewidth=1)


def _line(panel: Axes, points: Sequence[Mapping[str, Any]], colour: str, label: str, share: bool) -> None:
    means, halves = (np.array([point[key] for point in points], float) for key in ("mean", "ci95"))
    low, high = means - halves, means + halves
    if share:  # an interval of few tasks would reach where no share can be
        means, low, high = 100 * means, 100 * low.clip(0, 1), 100 * high.clip(0, 1)
    panel.errorbar(
        [point["severity"] for point in points],
        means,
        yerr=(means - low, high - means),
        color=colour,
        marker="o",
        markersize=3.5,
        capsize=2,
        label=label,
    )
