"""How a name is taken apart, and that every share is shown in percent wherever a person reads it."""

from __future__ import annotations

import math

import pytest

from metamtl.runs.metric_names import base_name, in_percent, lower_is_better, parted
from metamtl.runs.result import describe
from metamtl.runs.units import bare, readable, short, titled


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("accuracy", ("", "accuracy", "")),
        ("road/mse", ("road", "mse", "")),
        ("slots/f1/album", ("slots", "f1", "album")),
        ("f1/album", ("", "f1", "album")),
        ("f1/recall", ("", "f1", "recall")),
        ("road/my_figure", ("road", "my_figure", "")),
    ],
)
def test_a_name_is_family_kind_and_type(name: str, parts: tuple[str, str, str]) -> None:
    assert parted(name) == parts
    assert base_name(name) == parts[1]


def test_the_families_of_a_run_tell_more_than_slashes() -> None:
    assert parted("f1/my_figure/album", ["f1", "slots"]) == ("f1", "my_figure", "album")
    assert parted("f1/album", ["slots"]) == ("", "f1", "album")


@pytest.mark.parametrize("metric", ["accuracy", "box/iou", "slots/f1", "f1/album", "precision", "recall", "delta_m"])
def test_every_share_is_in_percent(metric: str) -> None:
    assert in_percent(metric) and not lower_is_better(metric)
    assert (titled(metric), bare(metric, 0.25, 0.011)) == (f"{metric} %", "25.00 ± 1.10")
    assert (readable(metric, 0.25, 0.011), short(metric, 0.25)) == ("25.00% ± 1.10", "25.0%")
    assert readable(metric, -0.25, sign=True) == "-25.00%"


@pytest.mark.parametrize("metric", ["loss", "road/mse", "steps"])
def test_other_figures_are_as_they_are(metric: str) -> None:
    assert not in_percent(metric)
    assert (titled(metric), bare(metric, 0.25, math.nan), readable(metric, 0.25, 0.5)) == (
        metric,
        "0.2500",
        "0.2500 ± 0.5000",
    )
    assert readable(metric, 0.25, 0.5, sign=True) == "+0.2500 ± 0.5000"


def test_a_small_figure_keeps_digits_that_say_something() -> None:
    assert bare("mse", 1.234e-5, 2e-6) == "0.0000123 ± 0.0000020"
    assert (bare("mse", 0.0), bare("mse", -0.00456), bare("mse", math.nan)) == ("0.0000", "-0.00456", "nan")


def test_a_test_is_told_in_the_same_unit() -> None:
    figure = {"mean": 0.5, "ci95": 0.02, "episodes": 40}
    record = {"test": {"iou": figure, "accuracy": figure}, "split": "test", "task": {}}
    told = [describe(record, metric).split(" over ")[0] for metric in ("iou", "accuracy")]  # type: ignore[arg-type]
    assert told == ["test iou 50.00% ± 2.00", "test accuracy 50.00% ± 2.00"]
