"""The affinity map of a run as a picture: what a step for one family does to the loss of another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from metamtl.runs.figures import INK, write_png
from metamtl.runs.folder import RunFolder
from metamtl.runs.result import read_result

if TYPE_CHECKING:  # matplotlib takes half a second, which only a run that draws should pay
    from matplotlib.axes import Axes


def plot_affinity(run: RunFolder) -> Path | None:
    """Draws plots/affinity.png of `run` and returns its path; None where no affinity was measured."""
    record = read_result(run).get("relatedness")
    if not record:
        return None
    from matplotlib.figure import Figure

    affinity, cosine = record["affinity"], record["cosine"]
    names = list(dict.fromkeys(pair.partition(">")[0] for pair in affinity))
    side = 1.6 + 0.62 * len(names)
    figure = Figure(figsize=(2 * side + 1.6, side + 0.8), dpi=160, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw(left, names, {tuple(pair.split(">")): 100 * value for pair, value in affinity.items()}, "{:+.2f}")
    left.set_title("share of the loss that a step takes away, %", loc="left", fontsize=10, color=INK)
    left.set_ylabel("a step for", fontsize=9, color=INK)
    left.set_xlabel("changes the loss of", fontsize=9, color=INK)
    pairs = {tuple(pair.split("-")): value for pair, value in cosine.items()}
    _draw(right, names, pairs | {pair[::-1]: value for pair, value in pairs.items()}, "{:+.2f}")
    right.set_title("cosine of the gradients", loc="left", fontsize=10, color=INK)
    figure.suptitle(f"{run.path.name}, mean of {record['measured']} measurements", x=0.012, ha="left", fontsize=11)
    return write_png(figure, run.plots / "affinity.png")


def _draw(panel: Axes, names: list[str], values: dict[tuple[str, ...], float], form: str) -> None:
    table = np.full((len(names), len(names)), np.nan)
    for (row, column), value in values.items():
        table[names.index(row), names.index(column)] = value
    most = max(float(np.nanmax(np.abs(table))), 1e-12) if len(names) > 1 else 1.0
    panel.imshow(table, cmap="RdBu", vmin=-most, vmax=most)  # blue helps, red harms
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            ink = "white" if abs(value) > 0.6 * most else INK
            panel.text(column, row, form.format(value), ha="center", va="center", fontsize=8, color=ink)
    panel.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    panel.set_yticks(range(len(names)), names, fontsize=8)
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0, colors=INK)
