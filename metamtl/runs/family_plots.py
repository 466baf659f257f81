"""Curves of a run of several families: a small panel for each, of the metric by which it is judged."""

from __future__ import annotations

import math
from pathlib import Path

from metamtl.runs.figures import INK, write_png
from metamtl.runs.folder import RunFolder
from metamtl.runs.panels import Lines, add_legend, draw_panel
from metamtl.runs.result import Result
from metamtl.runs.units import readable

_ONE_ROW = 3  # so many families stand side by side; more make a square


def plot_families(run: RunFolder, lines: Lines, result: Result) -> Path:
    """Draws plots/families.png of the lines of a run's metrics and its result, and returns its path."""
    from matplotlib.figure import Figure

    families = result["families"]
    columns = len(families) if len(families) <= _ONE_ROW else math.ceil(math.sqrt(len(families)))
    rows = math.ceil(len(families) / columns)
    figure = Figure(figsize=(0.8 + 3.8 * columns, 1.0 + 2.7 * rows), dpi=160, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for panel, (name, record) in zip(axes, families.items(), strict=False):
        metric = record["metric"]
        summary = record["test"][metric]
        draw_panel(panel, f"{name}/{metric}", lines, summary, result.get("best", {}).get("step"))
        said = f"{name}: {metric}, test {readable(metric, summary['mean'], summary['ci95'])}"
        panel.set_title(said, loc="left", fontsize=10, color=INK)
    for panel in axes[len(families) :]:
        panel.set_visible(False)
    figure.suptitle(run.path.name, x=0.012, ha="left", fontsize=11, color=INK)
    add_legend(figure, axes)
    return write_png(figure, run.plots / "families.png")
