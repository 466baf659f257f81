"""Pictures of what a finished run does with one task, of how it adapts, and of which classes it takes for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metamtl.runs.figures import BLUE, GREEN, INK, ORANGE, SKY, clear, write_png
from metamtl.runs.result import Summary
from metamtl.runs.units import scale_of, titled

if TYPE_CHECKING:  # matplotlib takes half a second, which only a run that draws should pay
    from matplotlib.axes import Axes

Numbers = NDArray[Any]
_MOST_NAMED = 20  # classes; the cells of more are too small for numbers
# Okabe & Ito's colours, then the same once more: markers tell the two rounds apart
_COLOURS = (BLUE, ORANGE, GREEN, SKY, "#E69F00", "#CC79A7", "#F0E442", "#000000")


@dataclass(frozen=True)
class OneTask:
    """A task of classes: places [S + Q, 2] of its examples among features, support first, and their classes [S + Q].

    `predicted` [Q] are the classes that its queries are taken for.
    """

    places: Numbers
    labels: Numbers
    predicted: Numbers

    @property
    def support(self) -> int:
        """How many examples are the support set's."""
        return len(self.labels) - len(self.predicted)


@dataclass(frozen=True)
class OneCurve:
    """A task of numbers: inputs [S + Q] and targets [S + Q], support first, and outputs [Q] for the queries."""

    x: Numbers
    y: Numbers
    outputs: Numbers


def plot_task(
    target: Path, shown: OneTask | OneCurve | None, adaptation: Sequence[tuple[int, Summary]], metric: str
) -> Path | None:
    """Draws a task and the metric after each number of inner steps, whichever there is; None where neither is."""
    from matplotlib.figure import Figure

    panels = 2 * isinstance(shown, OneTask) + isinstance(shown, OneCurve) + bool(adaptation)
    if panels == 0:
        return None
    figure = Figure(figsize=(4.4 * panels, 3.9), dpi=120, layout="constrained")
    free = list(figure.subplots(1, panels, squeeze=False)[0])
    if isinstance(shown, OneTask):
        _draw_places(free.pop(0), shown)
        classes = int(shown.labels.max()) + 1
        truth = shown.labels[shown.support :]
        _draw_confusion(free.pop(0), confusion(truth, shown.predicted, classes), "queries of that task")
    elif isinstance(shown, OneCurve):
        _draw_curve(free.pop(0), shown)
    if adaptation:
        _draw_adaptation(free.pop(0), adaptation, metric)
    return write_png(figure, target)


def plot_confusion(target: Path, counts: Numbers, names: Sequence[str]) -> Path:
    """Draws how many examples of each class [row] were taken for each [column]."""
    from matplotlib.figure import Figure

    side = min(8.0, 2.6 + 0.36 * len(counts))
    figure = Figure(figsize=(side + 0.6, side), dpi=120, layout="constrained")
    _draw_confusion(figure.subplots(), counts, "test examples", names)
    return write_png(figure, target)


def confusion(truth: Numbers, predicted: Numbers, classes: int) -> Numbers:
    """Counts [classes, classes] of true classes by predicted ones."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts


def _draw_places(panel: Axes, shown: OneTask) -> None:
    clear(panel)
    wrong = np.zeros(len(shown.labels), dtype=bool)
    wrong[shown.support :] = shown.predicted != shown.labels[shown.support :]
    for label in np.unique(shown.labels):
        own = shown.labels == label
        colour, later = _COLOURS[label % len(_COLOURS)], label >= len(_COLOURS)
        for first, marker, size in ((True, "*", 150), (False, "s" if later else "o", 22)):
            part = own & ((np.arange(len(own)) < shown.support) == first)
            edge = ["black" if bad else "white" for bad in wrong[part]]
            panel.scatter(
                shown.places[part, 0],
                shown.places[part, 1],
                c=colour,
                marker=marker,
                s=size,
                edgecolors=edge,
                linewidths=0.8,
            )
    panel.set_xticks([])
    panel.set_yticks([])
    panel.set_title("features of one test task: stars are labelled,\nblack rings are mistaken", loc="left", fontsize=9)


def _draw_confusion(panel: Axes, counts: Numbers, what: str, names: Sequence[str] = ()) -> None:
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    few = len(counts) <= _MOST_NAMED
    if few:
        for (row, column), count in np.ndenumerate(counts):
            ink = "white" if shares[row, column] > 0.6 else INK
            panel.text(column, row, str(count) if count else "", ha="center", va="center", fontsize=7, color=ink)
    ticks = range(len(counts)) if few else []
    texts = [names[number] if names else str(number + 1) for number in ticks]
    panel.set_xticks(ticks, texts, fontsize=7, rotation=45 if names else 0)
    panel.set_yticks(ticks, texts, fontsize=7)
    panel.set_xlabel("taken for", fontsize=9, color=INK)
    panel.set_ylabel("class", fontsize=9, color=INK)
    panel.set_title(f"confusion, {what}", loc="left", fontsize=9)


def _draw_curve(panel: Axes, shown: OneCurve) -> None:
    clear(panel)
    support = len(shown.x) - len(shown.outputs)
    panel.plot(shown.x[support:], shown.y[support:], "o", color=INK, markersize=4, label="queries")
    panel.plot(shown.x[support:], shown.outputs, "x", color=ORANGE, label="predicted")
    panel.plot(shown.x[:support], shown.y[:support], "*", color=BLUE, markersize=11, label="support")
    panel.legend(frameon=False, fontsize=8)
    panel.set_title("one test task", loc="left", fontsize=9)


def _draw_adaptation(panel: Axes, adaptation: Sequence[tuple[int, Summary]], metric: str) -> None:
    from matplotlib.ticker import MaxNLocator

    clear(panel)
    scale = scale_of(metric)
    steps = [step for step, _ in adaptation]
    mean, half = (scale * np.array([one[key] for _, one in adaptation]) for key in ("mean", "ci95"))
    panel.fill_between(steps, mean - half, mean + half, color=BLUE, alpha=0.2, linewidth=0)
    panel.plot(steps, mean, color=BLUE, marker="o", markersize=3)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("inner steps", fontsize=9, color=INK)
    episodes = adaptation[0][1]["episodes"]
    panel.set_title(f"{titled(metric)} of {episodes} validation tasks", loc="left", fontsize=9)
