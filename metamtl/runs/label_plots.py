"""A picture of how many of the target's labels an accuracy takes, with transfer and from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metamtl.runs.figures import BLUE, ORANGE, write_png
from metamtl.runs.folder import RunFolder
from metamtl.runs.metric_names import in_percent

_COLOURS = {"transfer": BLUE, "scratch": ORANGE}


def plot_labels(run: RunFolder, curve: Sequence[Mapping[str, Any]], metric: str) -> None:
    """Draws plots/labels.png of points that have `labels`, and a summary of `transfer` and of `scratch`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator, PercentFormatter

    figure = Figure(figsize=(6.0, 3.8), dpi=160, layout="constrained")
    panel = figure.subplots()
    labels = [point["labels"] for point in curve]
    for which, colour in _COLOURS.items():
        means = [point[which]["mean"] for point in curve]
        halves = [point[which]["ci95"] for point in curve]
        panel.errorbar(labels, means, yerr=halves, color=colour, marker="o", markersize=4, capsize=3, label=which)
    panel.set_xscale("log")
    panel.set_xticks(labels, [str(count) for count in labels])
    panel.xaxis.set_minor_locator(NullLocator())  # their labels would run into those of the label counts
    if in_percent(metric):
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    panel.set_xlabel("labelled training examples of the target", fontsize=9)
    panel.set_title(f"test {metric}, 95% interval over test examples", loc="left", fontsize=10)
    panel.legend(frameon=False, fontsize=9)
    write_png(figure, run.plots / "labels.png")
