from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metamtl.runs.folder import RunFolder
from metamtl.runs.metrics import MetricStream
from metamtl.runs.plots import plot_curves
from metamtl.runs.result import summary, write_result


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
