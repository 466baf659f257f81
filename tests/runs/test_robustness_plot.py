from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl.runs import figures as figures_module
from metamtl.runs import robustness_plot
from metamtl.runs.folder import RunFolder
from metamtl.runs.result import Record, write_result
from metamtl.runs.robustness_plot import plot_robustness


def _record(metric: str, half: float, *kinds: str) -> Record:
    points = [{"severity": s, "mean": m, "ci95": half, "episodes": 4} for s, m in ((0.0, 0.9), (0.5, 0.1))]
    return {"test": {}, "metric": metric, "robustness": dict.fromkeys(kinds, points)}


def _drawn(
    run: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    families: dict[str, Record],
    references: dict[str, Any] | None = None,
) -> Any:
    """The figure that the families' picture is of."""
    figures: list[Any] = []

    def write_png(figure: Any, target: Path) -> Path:
        figures.append(figure)
        return figures_module.write_png(figure, target)

    monkeypatch.setattr(robustness_plot, "write_png", write_png)
    write_result(run, {"families": families, "references": references or {}})
    path = plot_robustness(run)
    assert path is not None and path.stat().st_size > 0
    return figures[0]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, {"seed": 0}, [], "joint")


def _ends(panel: Any) -> list[tuple[float, float]]:
    """The lowest and highest point of the intervals of each line."""
    places = [np.concatenate(bars.get_segments())[:, 1] for bars in panel.collections]
    return [(float(ys.min()), float(ys.max())) for ys in places]


def test_shares_have_one_axis_of_percents_and_intervals_end_where_shares_do(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    families = {"breed": _record("accuracy", 0.5, "noise", "rotation"), "box": _record("iou", 0.05, "noise")}
    figure = _drawn(run, monkeypatch, families)
    noise, rotation = figure.axes
    assert noise.get_ylabel() == "accuracy, iou (%)" and not rotation.get_ylabel()
    assert np.array(_ends(noise)) == pytest.approx(np.array([[0, 100], [5, 95]]))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["breed accuracy", "box iou"]
    assert legend.get_window_extent().y1 <= min(panel.get_tightbbox().y0 for panel in figure.axes)


def test_other_metrics_keep_their_unit_in_a_row_of_their_own(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    families = {"income": _record("f1", 0.01, "noise"), "motor": _record("mse", 0.5, "noise")}
    shares, errors = _drawn(run, monkeypatch, families).axes
    assert (shares.get_ylabel(), errors.get_ylabel()) == ("f1 (%)", "mse")
    assert np.array(_ends(errors)) == pytest.approx(np.array([[-0.4, 1.4]]))
    assert shares.lines[0].get_color() != errors.lines[0].get_color()


def test_a_row_without_the_first_disturbance_is_labelled_all_the_same(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    families = {"word": _record("accuracy", 0.1, "support_labels"), "wave": _record("mse", 0.5, "noise")}
    upper, labels, lower, _ = _drawn(run, monkeypatch, families).axes
    assert not upper.get_visible() and labels.get_ylabel() == "accuracy (%)" and lower.get_ylabel() == "mse"


def test_the_legend_of_many_families_fits_beside_one_disturbance(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    families = {f"never_married{n}": _record("accuracy", 0.1, "noise") for n in range(8)}
    figure = _drawn(run, monkeypatch, families)
    found = figure.legends[0].get_window_extent()
    assert found.x0 >= 0 and found.x1 <= figure.bbox.x1
    assert figure.axes[0].get_window_extent().height > figure.bbox.height / 2


def test_a_run_that_nothing_disturbed_has_no_picture(run: RunFolder) -> None:
    write_result(run, {"test": {}, "metric": "accuracy"})
    assert plot_robustness(run) is None and not run.plots.exists()


@pytest.mark.parametrize("kinds", [["noise"], ["noise", "blur", "rotation"]], ids=len)
def test_a_long_title_ends_before_the_picture_does(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, kinds: list[str]
) -> None:
    long = RunFolder.create(run.path.parent, {"seed": 0}, [], "joint-breed-species-segmentation-box-and-more-s0")
    figure = _drawn(long, monkeypatch, {"breed": _record("accuracy", 0.1, *kinds)})
    (title,) = (text for text in figure.texts if "disturbances" in text.get_text())
    assert title.get_window_extent().x1 <= figure.bbox.x1
    assert title.get_window_extent().y0 >= max(panel.get_window_extent().y1 for panel in figure.axes)


def test_each_family_alone_is_a_broken_line_of_its_colour(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    record = _record("accuracy", 0.1, "noise")
    sides = [{"severity": s, "together": {"mean": 0.5}, "alone": {"mean": m}} for s, m in ((0.0, 0.8), (0.5, 0.3))]
    references = {"robustness": {"breed": {"noise": {"points": sides}}}}
    (panel,) = _drawn(run, monkeypatch, {"breed": record, "box": record}, references).axes
    broken = [line for line in panel.lines if line.get_linestyle() == "--"]
    assert [list(line.get_ydata()) for line in broken] == [pytest.approx([80.0, 30.0])]
    assert broken[0].get_color() == panel.lines[0].get_color()
