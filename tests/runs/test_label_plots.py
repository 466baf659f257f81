from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metamtl.runs import label_plots
from metamtl.runs.folder import RunFolder


@pytest.mark.parametrize(("metric", "percent"), [("accuracy", True), ("mse", False)])
def test_label_counts_are_the_only_ticks_and_an_accuracy_is_in_percent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, percent: bool
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(label_plots, "write_png", lambda figure, target: figures.append(figure))
    point = {"mean": 0.5, "ci95": 0.1}
    curve = [{"labels": labels, "transfer": point, "scratch": point} for labels in (20, 100, 500)]
    label_plots.plot_labels(RunFolder.create(tmp_path, {"seed": 0}, [], "maml"), curve, metric)
    (panel,) = figures[0].axes
    figures[0].canvas.draw()
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["20", "100", "500"]
    assert len(panel.get_xticks(minor=True)) == 0
    assert all(tick.get_text().endswith("%") == percent for tick in panel.get_yticklabels())
