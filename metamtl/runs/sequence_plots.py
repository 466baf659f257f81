"""Pictures of a sequence: the matrix of accuracies after every stage, and how each task was forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from metamtl.runs.figures import write_png
from metamtl.runs.folder import RunFolder
from metamtl.runs.metric_names import in_percent
from metamtl.runs.units import scale_of, titled

if TYPE_CHECKING:  # matplotlib takes half a second, which only a run that draws should pay
    from matplotlib.figure import Figure


def plot_sequence(run: RunFolder, matrix: Sequence[Sequence[float]], names: Sequence[str], metric: str) -> None:
    """Draws plots/transfer_matrix.png and plots/forgetting.png of figures [T + 1, T] of the metric, row 0 untrained."""
    values = np.asarray(matrix, dtype=np.float64)
    for name, figure in (
        ("transfer_matrix", _matrix(values, names, metric)),
        ("forgetting", _curves(values, names, metric)),
    ):
        write_png(figure, run.plots / f"{name}.png")


def _matrix(values: np.ndarray, names: Sequence[str], metric: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 + 0.9 * len(names), 1.6 + 0.6 * len(values)), dpi=160, layout="constrained")
    panel = figure.subplots()
    percent = in_percent(metric)
    top = 1.0 if percent else max(float(values.max()), 1e-12)
    panel.imshow(values, vmin=0, vmax=top, cmap="viridis", aspect="auto")
    for row, column in np.ndindex(values.shape):
        shade = "white" if values[row, column] < 0.6 * top else "black"
        text = f"{scale_of(metric) * values[row, column]:.0f}" if percent else f"{values[row, column]:.3g}"
        panel.text(column, row, text, ha="center", va="center", color=shade, fontsize=9)
    panel.set_xticks(range(len(names)), names, fontsize=8, rotation=30, ha="right")
    panel.set_yticks(range(len(values)), ["untrained", *(f"after {number}" for number in range(1, len(values)))])
    panel.set_xlabel("tested on", fontsize=9)
    panel.set_title(titled(metric), loc="left", fontsize=10)
    return figure


def _curves(values: np.ndarray, names: Sequence[str], metric: str) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(6.4, 3.8), dpi=160, layout="constrained")
    panel = figure.subplots()
    for task, name in enumerate(names):
        panel.plot(range(task + 1, len(values)), values[task + 1 :, task], marker="o", markersize=3.5, label=name)
    means = [values[stage, :stage].mean() for stage in range(1, len(values))]
    panel.plot(range(1, len(values)), means, color="black", linestyle="--", label="mean of those learnt")
    if in_percent(metric):
        panel.set_ylim(-0.02, 1.02)
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.set_xticks(range(1, len(values)))
    panel.set_xlabel("stages learnt", fontsize=9)
    panel.set_title(f"test {metric} of each stage from when it was learnt", loc="left", fontsize=10)
    panel.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
