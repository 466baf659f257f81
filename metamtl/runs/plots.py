"""Curves of a run as a picture: how loss and metrics went in training and validation, and what the test said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metamtl.runs.figures import GREEN, INK, ORANGE, SKY, clear, write_png
from metamtl.runs.folder import RunFolder
from metamtl.runs.metrics import read
from metamtl.runs.result import Result, Summary, read_result

if TYPE_CHECKING:  # matplotlib takes half a second, which only a run that draws should pay
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TRAIN, _VAL, _TEST = SKY, ORANGE, GREEN  # the splits differ in shape as well
_MOST_PANELS = 3
_RANGE_FOR_LOG = 30.0  # a loss that falls further than this is drawn on a logarithmic axis
_WINDOWS = 40  # the mean curve of training averages over a window of 1/40 of the points

Lines = Sequence[Mapping[str, Any]]


def plot_curves(run: RunFolder) -> Path | None:
    """Draws plots/curves.png of `run` and returns its path; None where the run has no metrics yet."""
    lines = read(run.metrics_file)
    metrics = _metrics(lines)
    if not metrics:
        return None
    result: Result = read_result(run) if run.result_file.exists() else {}
    return write_png(_draw(run.path.name, lines, metrics, result), run.plots / "curves.png")


def _metrics(lines: Lines) -> list[str]:
    """What gets a panel: the loss, then what validation measures; rates, speeds and intervals are in the stream."""
    measured = {name: None for line in lines for name in line}
    names = [name.partition("/")[2] for name in measured if name.startswith("val/") and not name.endswith("_ci95")]
    if "train/loss" in measured:
        names.insert(0, "loss")
    return list(dict.fromkeys(names))[:_MOST_PANELS]


def _draw(title: str, lines: Lines, metrics: Sequence[str], result: Result) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.2 + 4.6 * len(metrics), 4.1), dpi=160, layout="constrained")
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    for panel, metric in zip(axes, metrics, strict=True):
        _draw_panel(panel, metric, lines, result)
    tested = result.get("test", {})
    tests = [_in_words(name, tested[name]) for name in metrics if name in tested and name != "loss"]
    figure.suptitle("\n".join([title, *tests]), x=0.012, ha="left", fontsize=11, color=INK)
    handles = {
        label: handle for panel in axes for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure


def _draw_panel(panel: Axes, metric: str, lines: Lines, result: Result) -> None:
    steps, train = _series(lines, f"train/{metric}")
    panel.plot(steps, train, color=_TRAIN, linewidth=0.6, alpha=0.45)
    window = max(1, len(train) // _WINDOWS)
    if train.size:
        panel.plot(
            steps[window // 2 :][: len(train) - window + 1], _means(train, window), color=_TRAIN, label="training"
        )
    val_steps, val = _series(lines, f"val/{metric}")
    if val.size:
        panel.plot(val_steps, val, color=_VAL, linewidth=1.4, marker="o", markersize=3.5, label="validation")
    summary = result.get("test", {}).get(metric)
    if summary is not None:
        _draw_test(panel, summary)
    _draw_best(panel, metric, val_steps, val, result.get("best", {}).get("step"))
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
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    finite = values[np.isfinite(values)]
    if metric == "loss" and finite.size and finite.min() > 0 and finite.max() / finite.min() > _RANGE_FOR_LOG:
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    if metric == "accuracy":
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
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


def _in_words(metric: str, summary: Summary) -> str:
    scale, unit, digits = (100.0, "%", 2) if metric == "accuracy" else (1.0, "", 4)
    mean, half = scale * summary["mean"], scale * summary["ci95"]
    return f"test {metric} {mean:.{digits}f} ± {half:.{digits}f}{unit} over {summary['episodes']:,} episodes"
