"""Updates of some families, drawn by their sizes as a function of the step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metamtl.data.digits import Digits
from metamtl.data.source import DataPaths
from metamtl.errors import UsageError
from metamtl.multitask.mixing import Mixing, mixing_of
from metamtl.runs.metrics import read
from tests.multitask.composed import families_of, trained
from tests.multitask.test_families import gradients

STEPS = 4000


def test_one_is_drawn_by_its_share_and_the_draw_depends_on_step_and_seed_alone() -> None:
    mixing = Mixing({"a": 6.0, "b": 3.0, "c": 1.0}, 1, seed=0)
    drawn = [mixing.drawn(step)[0] for step in range(STEPS)]
    for name, share in (("a", 0.6), ("b", 0.3), ("c", 0.1)):
        assert drawn.count(name) / STEPS == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / STEPS))
    assert drawn[:50] == [Mixing({"a": 6.0, "b": 3.0, "c": 1.0}, 1, seed=0).drawn(step)[0] for step in range(50)]
    assert drawn[:50] != [Mixing({"a": 6.0, "b": 3.0, "c": 1.0}, 1, seed=1).drawn(step)[0] for step in range(50)]


def test_several_are_drawn_once_each_in_their_order() -> None:
    mixing = Mixing({"a": 5.0, "b": 1.0, "c": 1.0}, 2, seed=0)
    drawn = [tuple(mixing.drawn(step)) for step in range(200)]
    assert set(drawn) == {("a", "b"), ("a", "c"), ("b", "c")}


def test_shares_follow_the_rule(tmp_path: Path) -> None:
    every: dict[str, Any] = {"paths": DataPaths(None, tmp_path), "target": "odd", "components": None, "split_seed": 0}
    sources = {"few": Digits(**every, digits=[0, 1]), "all": Digits(**every)}
    sizes = np.array([len(source.items("train")) for source in sources.values()], np.float64)
    assert sizes[0] < sizes[1] / 3
    for rule, power in (("proportional", 1.0), ("equal", 0.0), ("temperature", 0.5)):
        shares = mixing_of({"take": 1, "rule": rule, "temperature": 2.0}, sources, 0).shares
        wanted = np.power(sizes, power)
        np.testing.assert_allclose(shares / shares.sum(), wanted / wanted.sum())


def test_an_update_of_some_leaves_the_others_heads_alone() -> None:
    families = families_of("digits", mixing={"take": 2})
    for step in range(4):
        drawn = families.drawn(step)
        each, figures = gradients(families, step)
        update = families.combined(each, figures, step)
        heads = {name.split(".")[1] for name in update if ".head." in name}
        assert heads == set(drawn) and len(drawn) == 2
        rows = families.rows(each, drawn)
        first = families.shared_weights[0]
        name = next(name for name, weight in families.module.named_parameters() if weight is first)
        torch.testing.assert_close(update[name].flatten(), rows.mean(0)[: first.numel()])
        assert figures["loss"] == pytest.approx(sum(figures[f"{name}/loss"] for name in drawn) / 2)
        statistics = [(torch.zeros(16), torch.ones(16))] * len(drawn)
        families.update_running([(a.double(), b.double()) for a, b in statistics], step)


def test_a_run_of_draws_logs_the_mean_over_the_updates_that_a_family_was_in(tmp_path: Path) -> None:
    mixing = {"take": 1, "rule": "equal"}
    single = trained(tmp_path / "single", 6, log_every=1, mixing=mixing)
    window = trained(tmp_path / "window", 6, log_every=6, mixing=mixing)
    each = [line["train/low/loss"] for line in read(single.metrics_file) if "train/low/loss" in line]
    (line,) = (line for line in read(window.metrics_file) if "train/low/loss" in line)
    assert 0 < len(each) < 6
    assert line["train/low/loss"] == pytest.approx(sum(each) / len(each))
    assert line["train/weight/low"] == 1  # each update takes one family whole


@pytest.mark.parametrize(
    "mixing, weighting, said",
    [
        ({"take": 3}, "equal", "mixing.take=3: there are 2 families"),
        ({"take": 1}, "equal", "families.low: sinusoid makes tasks and has no size to draw by: take mixing.rule=equal"),
        ({"take": 1, "rule": "equal"}, "famo", "weighting=famo compares all families"),
    ],
)
def test_a_mixing_that_cannot_be_is_refused(mixing: dict[str, Any], weighting: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        families_of("waves", mixing=mixing, weighting={"name": weighting})
