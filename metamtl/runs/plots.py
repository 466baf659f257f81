"""Curves of a run as a picture: how loss and metrics went in training and validation, and what the test said."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metamtl.runs.family_plots import plot_families
from metamtl.runs.figures import INK, write_png
from metamtl.runs.folder import RunFolder
from metamtl.runs.metrics import read
from metamtl.runs.panels import Lines, add_legend, draw_panel
from metamtl.runs.result import Result, Summary, read_result
from metamtl.runs.units import readable

if TYPE_CHECKING:  # matplotlib takes half a second, which only a run that draws should pay
    from matplotlib.figure import Figure

_MOST_PANELS = 3


def plot_curves(run: RunFolder) -> Path | None:
    """Draws plots/curves.png of `run` and returns its path; None where the run has no metrics yet.

    Of several families plots/families.png has the curves of each, and this picture what they have in common.
    """
    lines = read(run.metrics_file)
    result: Result = read_result(run) if run.result_file.exists() else {}
    metrics = _metrics(lines, result.get("families", {}))
    if not metrics:
        return None
    if "families" in result:
        plot_families(run, lines, result)
    return write_png(_draw(run.path.name, lines, metrics, result), run.plots / "curves.png")


def _metrics(lines: Lines, families: Collection[str]) -> list[str]:
    """What gets a panel: the loss, then what validation measures; rates, speeds and intervals are in the stream."""
    measured = {name: None for line in lines for name in line}
    names = [name.partition("/")[2] for name in measured if name.startswith("val/") and not name.endswith("_ci95")]
    if "train/loss" in measured:
        names.insert(0, "loss")
    of_one = tuple(f"{family}/" for family in families)
    common = (name for name in names if not name.startswith(of_one))
    return list(dict.fromkeys(common))[:_MOST_PANELS]


def _draw(title: str, lines: Lines, metrics: Sequence[str], result: Result) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.2 + 4.6 * len(metrics), 4.1), dpi=160, layout="constrained")
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    tested, best = result.get("test", {}), result.get("best", {}).get("step")
    for panel, metric in zip(axes, metrics, strict=True):
        draw_panel(panel, metric, lines, tested.get(metric), best)
    tests = [_in_words(name, tested[name]) for name in metrics if name in tested and name != "loss"]
    figure.suptitle("\n".join([title, *tests]), x=0.012, ha="left", fontsize=11, color=INK)
    add_legend(figure, axes)
    return figure


def _in_words(metric: str, summary: Summary) -> str:
    return f"test {metric} {readable(metric, summary['mean'], summary['ci95'])} over {summary['episodes']:,} episodes"
