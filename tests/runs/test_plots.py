from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metamtl.runs import family_plots, plots
from metamtl.runs.folder import RunFolder
from metamtl.runs.metrics import MetricStream
from metamtl.runs.plots import plot_curves
from metamtl.runs.result import Record, summary, write_result


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, {"seed": 0}, [], "maml")


def _colours(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as image:
        found = image.convert("RGB").getcolors(maxcolors=1 << 24)
    return {colour for _, colour in found or [] if isinstance(colour, tuple)}


def test_a_run_without_metrics_has_no_picture(run: RunFolder) -> None:
    assert plot_curves(run) is None
    assert not run.plots.exists()


def test_training_validation_best_and_test_are_all_drawn(run: RunFolder) -> None:
    blue, orange, green = (86, 180, 233), (213, 94, 0), (0, 158, 115)
    with MetricStream(run.metrics_file) as stream:
        for step in range(1, 101):
            stream.write(
                step, "train", {"train/loss": math.exp(-step / 20), "train/accuracy": step / 100, "train/rate": 1}
            )
        path = plot_curves(run)
        assert path == run.plots / "curves.png"
        one_panel = Image.open(path).size
        assert blue in _colours(path)
        assert not {orange, green} & _colours(path)
        stream.write(50, "val", {"val/loss": 0.2, "val/accuracy": 0.5})
        stream.write(100, "val", {"val/loss": math.nan, "val/accuracy": 0.6})
    write_result(run, {"test": {"accuracy": summary(np.array([0.4, 0.6]))}, "best": {"step": 50}})
    assert plot_curves(run) == path
    assert {blue, orange, green} <= _colours(path)
    assert Image.open(path).size[0] > one_panel[0]  # a panel for accuracy has joined the one for the loss


def test_a_run_of_one_step_and_one_of_nothing_finite_are_drawn(run: RunFolder) -> None:
    with MetricStream(run.metrics_file) as stream:
        stream.write(1, "train", {"train/loss": math.nan})
        assert plot_curves(run) is not None
        stream.write(1, "val", {"val/mse": math.inf})
        assert plot_curves(run) is not None


@pytest.mark.parametrize(("steps", "wanted"), [([4], ["4"]), ([4, 5, 6, 7], ["4", "5", "6", "7"])])
def test_a_short_run_shows_every_point_over_whole_steps(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, steps: list[int], wanted: list[str]
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(plots, "write_png", lambda figure, target: figures.append(figure))
    with MetricStream(run.metrics_file) as stream:
        for step in steps:
            stream.write(step, "train", {"train/loss": 1 / step})
        plot_curves(run)
    (panel,) = figures[0].axes
    figures[0].canvas.draw()
    low, high = panel.get_xlim()
    assert [tick.get_text() for tick in panel.get_xticklabels() if low <= tick.get_position()[0] <= high] == wanted
    (training,) = (line for line in panel.lines if line.get_label() == "training")
    assert training.get_marker() == ("s" if len(steps) == 1 else "")


def _families(run: RunFolder, names: list[str]) -> Path:
    """Draws a run in which the validation of each family is measured twice, and returns the families' picture."""
    with MetricStream(run.metrics_file) as stream:
        for step in (1, 2):
            train = {f"train/{name}/{kind}": 0.1 * step for name in names for kind in ("loss", "f1")}
            stream.write(step, "train", {**train, "train/loss": 1 / step})
            val = {f"val/{name}/{kind}": 0.2 * step for name in names for kind in ("loss", "f1", "f1_ci95")}
            stream.write(step, "val", {**val, "val/score": float(step)})
    record: Record = {"test": {"f1": summary(np.array([0.1, 0.3]))}, "metric": "f1"}
    write_result(run, {"families": dict.fromkeys(names, record), "best": {"step": 2}})
    assert plot_curves(run) == run.plots / "curves.png"
    return run.plots / "families.png"


@pytest.mark.parametrize(("count", "across", "down"), [(1, 1, 1), (3, 3, 1), (4, 2, 2), (7, 3, 3), (10, 4, 3)])
def test_each_of_several_families_has_a_panel(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, count: int, across: int, down: int
) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(
        family_plots, "draw_panel", lambda panel, metric, *rest: drawn.setdefault(metric, (panel, rest))
    )
    names = [f"family{number}" for number in range(count)]
    path = _families(run, names)
    assert path.exists() and list(drawn) == [f"{name}/f1" for name in names]
    titles = [panel.get_title(loc="left") for panel, _ in drawn.values()]
    assert titles == [f"{name}: f1, test 20.00% ± 19.60" for name in names]
    figure = drawn["family0/f1"][0].figure
    assert figure.get_size_inches() == pytest.approx([0.8 + 3.8 * across, 1.0 + 2.7 * down])
    assert sum(panel.get_visible() for panel in figure.axes) == count


def test_families_show_training_validation_and_test_and_leave_what_they_share_to_the_curves(run: RunFolder) -> None:
    path = _families(run, ["one", "loss", "score"])  # names that figures of the run have too
    assert {(86, 180, 233), (213, 94, 0), (0, 158, 115)} <= _colours(path)
    with Image.open(run.plots / "curves.png") as image:
        assert image.size[0] == round((1.2 + 2 * 4.6) * 160)  # the loss and the score, and no single family


def test_one_family_has_no_picture_of_families(run: RunFolder) -> None:
    with MetricStream(run.metrics_file) as stream:
        stream.write(1, "val", {"val/accuracy": 0.5, "val/accuracy/part": 0.5})
    write_result(run, {"test": {"accuracy": summary(np.array([0.4, 0.6]))}, "best": {"step": 1}})
    assert plot_curves(run) is not None and [path.name for path in run.plots.iterdir()] == ["curves.png"]
