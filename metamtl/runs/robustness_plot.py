"""How the figure of a run falls as inputs get worse and labels wrong, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metamtl.runs.figures import BLUE, GREEN, INK, ORANGE, SKY, clear, write_png
from metamtl.runs.folder import RunFolder
from metamtl.runs.metric_names import in_percent
from metamtl.runs.result import Record, read_result

_AXES = {
    "noise": "noise, standard deviations of the inputs",
    "blur": "blur, share of a picture's side",
    "rotation": "rotation, degrees",
    "support_labels": "share of wrong support labels",
}
_COLOURS = (BLUE, ORANGE, GREEN, SKY, INK)


def plot_robustness(run: RunFolder) -> Path | None:
    """Draws plots/robustness.png, a panel for each disturbance and a line for each family; None where none was made."""
    result = read_result(run)
    records: Mapping[str, Record] = result.get("families") or {"": result}
    found = {name: record["robustness"] for name, record in records.items() if record.get("robustness")}
    kinds = [kind for kind in _AXES if any(kind in curves for curves in found.values())]
    if not kinds:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.9 * len(kinds) + 0.4, 3.2), dpi=160, layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for panel, kind in zip(panels, kinds, strict=True):
        clear(panel)
        for (name, curves), colour in zip(found.items(), _COLOURS * len(found), strict=False):
            if kind in curves:
                _line(panel, curves[kind], colour, f"{name} {records[name]['metric']}".strip(), records[name]["metric"])
        panel.set_xlabel(_AXES[kind], fontsize=9, color=INK)
    panels[0].legend(frameon=False, fontsize=8)
    figure.suptitle(f"{run.path.name}, under disturbances, 95% intervals", x=0.012, ha="left", fontsize=11)
    return write_png(figure, run.plots / "robustness.png")


def _line(panel: Any, points: Sequence[Mapping[str, Any]], colour: str, label: str, metric: str) -> None:
    scale = 100.0 if in_percent(metric) else 1.0
    severities = [point["severity"] for point in points]
    means, halves = ([scale * point[key] for point in points] for key in ("mean", "ci95"))
    panel.errorbar(severities, means, yerr=halves, color=colour, marker="o", markersize=3.5, capsize=2, label=label)
