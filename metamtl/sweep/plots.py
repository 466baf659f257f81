"""A sweep as pictures: how the best figure fell or rose with the trials, and which keys mattered."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metamtl.runs.figures import GREEN, INK, ORANGE, SKY, clear, write_png
from metamtl.runs.metric_names import in_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COMPLETE, _PRUNED, _BEST = SKY, ORANGE, GREEN  # states differ in shape as well


def plot_history(sweep: Mapping[str, Any], target: Path) -> None:
    """Draws each trial's figure and the best so far; `sweep` is the content of sweep.json."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), dpi=160, layout="constrained")
    axes = figure.subplots()
    trials = [trial for trial in sweep["trials"] if trial["value"] is not None]
    for state, colour, marker in (("complete", _COMPLETE, "o"), ("pruned", _PRUNED, "x")):
        points = [(trial["number"], trial["value"]) for trial in trials if trial["state"] == state]
        if points:
            numbers, values = zip(*points, strict=True)
            axes.scatter(numbers, values, color=colour, marker=marker, s=26, label=state)
    complete = [(trial["number"], trial["value"]) for trial in trials if trial["state"] == "complete"]
    if complete:
        better = max if sweep["direction"] == "maximize" else min
        so_far = list(itertools.accumulate((value for _, value in complete), better))
        steps = [number for number, _ in complete]
        axes.step(steps, so_far, where="post", color=_BEST, linewidth=1.6, label="best so far")
        axes.legend(frameon=False, fontsize=9)
    _dress(axes, f"{sweep['id']}: {len(trials)} trials", "trial", sweep["metric"])
    write_png(figure, target)


def plot_importance(shares: Mapping[str, float], target: Path) -> None:
    """Draws the share of each key, the greatest at the top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 1.4 + 0.35 * len(shares)), dpi=160, layout="constrained")
    axes = figure.subplots()
    axes.barh(list(shares), list(shares.values()), color=_COMPLETE)
    axes.invert_yaxis()
    _dress(axes, "importance (PED-ANOVA)", "share", "")
    write_png(figure, target)


def _dress(axes: Axes, title: str, across: str, up: str) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel(across, fontsize=9, color=INK)
    axes.set_ylabel(up, fontsize=9, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=across == "trial"))
    if in_percent(up):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    clear(axes)
