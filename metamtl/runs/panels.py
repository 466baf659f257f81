"""One panel of curves: a metric in training and validation, the step that was taken, and what the test said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from metamtl.runs.figures import GREEN, INK, ORANGE, SKY, clear
from metamtl.runs.metric_names import base_name, in_percent
from metamtl.runs.result import Summary

if TYPE_CHECKING:  # matplotlib takes half a second, which only a run that draws should pay
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TRAIN, _VAL, _TEST = SKY, ORANGE, GREEN  # the splits differ in shape as well
_RANGE_FOR_LOG = 30.0  # a loss that falls further than this is drawn on a logarithmic axis
_WINDOWS = 40  # the mean curve of training averages over a window of 1/40 of the points

Lines = Sequence[Mapping[str, Any]]


def add_legend(figure: Figure, axes: Iterable[Axes], columns: int = 5) -> None:
    """One legend below all panels, in which nothing stands twice."""
    handles = {
        label: handle for panel in axes for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )


def draw_panel(panel: Axes, metric: str, lines: Lines, summary: Summary | None, best: float | None) -> None:
    """Draws `train/METRIC` and `val/METRIC` of `lines`, the test's `summary` and the `best` step, where they are."""
    steps, train = _series(lines, f"train/{metric}")
    panel.plot(steps, train, color=_TRAIN, linewidth=0.6, alpha=0.45)
    window = max(1, len(train) // _WINDOWS)
    if train.size:
        means = _means(train, window)
        marker = "s" if len(means) == 1 else ""  # a line through one point is not seen
        middles = steps[window // 2 :][: len(means)]
        panel.plot(middles, means, color=_TRAIN, marker=marker, markersize=3.5, label="training")
    val_steps, val = _series(lines, f"val/{metric}")
    if val.size:
        panel.plot(val_steps, val, color=_VAL, linewidth=1.4, marker="o", markersize=3.5, label="validation")
    if summary is not None:
        _draw_test(panel, summary)
    _draw_best(panel, metric, val_steps, val, best)
    _dress(panel, metric, np.concatenate([train, val]))


def _draw_test(panel: Axes, summary: Summary) -> None:
    mean, half = summary["mean"], summary["ci95"]
    panel.axhline(mean, color=_TEST, linestyle="--", linewidth=1.2, label="test, 95% interval")
    if math.isfinite(half):
        panel.axhspan(mean - half, mean + half, color=_TEST, alpha=0.2, linewidth=0)


def _draw_best(panel: Axes, metric: str, steps: np.ndarray, values: np.ndarray, best: float | None) -> None:
    if best is None:
        return
    panel.axvline(best, color=INK, linestyle=":", linewidth=1.0, label=f"best step, {best:,.0f}")
    at = np.flatnonzero(steps == best)
    if at.size:
        panel.plot(best, values[at[-1]], color=_VAL, marker="*", markersize=13, markeredgecolor="white", zorder=5)


def _dress(panel: Axes, metric: str, values: np.ndarray) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

    finite = values[np.isfinite(values)]
    if (
        base_name(metric) == "loss"
        and finite.size
        and finite.min() > 0
        and finite.max() / finite.min() > _RANGE_FOR_LOG
    ):
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    if in_percent(metric):
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    panel.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    panel.set_title(metric, loc="left", fontsize=10, color=INK)
    panel.set_xlabel("outer updates", fontsize=9, color=INK)
    clear(panel)
    panel.spines[["left", "bottom"]].set_color("#999999")
    panel.margins(x=0.02)


def _series(lines: Lines, name: str) -> tuple[np.ndarray, np.ndarray]:
    points = [(line["step"], line[name]) for line in lines if name in line]
    return np.array([step for step, _ in points], float), np.array([value for _, value in points], float)


def _means(values: np.ndarray, window: int) -> np.ndarray:
    return np.convolve(values, np.full(window, 1.0 / window), mode="valid")
