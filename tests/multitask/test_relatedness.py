"""Affinities, cosines and groups; and that a run records them without being changed by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from metamtl.engine.world import World
from metamtl.multitask.relatedness import affinities, cosines
from metamtl.runs.metrics import read
from metamtl.trainer.elsewhere import Elsewhere
from metamtl.trainer.run import resume_run
from metamtl.trainer.streams import FamiliesStream
from tests.multitask.bowls import Bowls
from tests.multitask.composed import families_of, trained
from tests.multitask.test_families import gradients


def test_affinity_is_the_share_of_a_loss_that_anothers_step_takes_away() -> None:
    """Of three bowls two have their bottoms together, the third on the other side."""
    bowls = Bowls([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]], height=0.0)
    slopes, losses = bowls.at(bowls.weights, 3)
    found = affinities(slopes, losses, bowls, 0.1, 3)
    after = bowls.at(bowls.weights - 0.1 * slopes[0], 3)[1]
    torch.testing.assert_close(found[0], 1 - after / losses)
    assert found[0, 1] > 0.1 and found[1, 0] > 0.1 and found[0, 2] < -0.1 and found[2, 1] < -0.1
    torch.testing.assert_close(cosines(slopes).diagonal(), torch.ones(3).double())
    assert cosines(slopes)[0, 1] > 0.9 and cosines(slopes)[1, 2] < -0.9


def test_zero_losses_and_gradients_have_no_relation() -> None:
    slopes, losses = torch.zeros(2, 3), torch.zeros(2)
    assert not cosines(slopes).any()
    assert not affinities(slopes, losses, lambda change, step, only=None: (slopes, losses), 0.1, 0).any()


@pytest.mark.parametrize("name", ["waves", "digits"])
def test_elsewhere_is_the_gradient_there_and_changes_nothing(name: str) -> None:
    families = families_of(name)
    families.module.train()
    before = {name: tensor.clone() for name, tensor in families.module.state_dict().items()}
    elsewhere = Elsewhere(families, FamiliesStream(families, World(0, 1)), World(0, 1))
    rows, losses = elsewhere.here(3)
    names = list(families.each)
    each, figures = gradients(families, 3)
    torch.testing.assert_close(rows, families.rows(each, names), rtol=1e-12, atol=0)
    assert losses.tolist() == pytest.approx([figures[f"{name}/loss"] for name in names], rel=1e-12)
    nudge = torch.zeros_like(rows[0])
    nudge[: families.shared_weights[0].numel()] = 1e-6  # of the first weights
    up, down = elsewhere(nudge, 3)[1], elsewhere(-nudge, 3)[1]
    torch.testing.assert_close((up - down) / 2, rows @ nudge, rtol=1e-5, atol=1e-12)
    alone, loss = elsewhere(nudge, 3, only=1)
    torch.testing.assert_close(loss, up[1:2], rtol=0, atol=0)
    assert alone.shape == (1, rows.shape[1])
    after = families.module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_run_records_relatedness_and_a_stopped_one_goes_on_as_an_unbroken_one(tmp_path: Path) -> None:
    every, weighting = {"every": 2}, {"name": "famo"}
    whole = trained(tmp_path / "whole", 4, relatedness=every, weighting=weighting)
    broken = trained(tmp_path / "broken", 3, relatedness=every, weighting=weighting)
    resume_run(broken.path, ["trainer.steps=4"])
    first, second = (json.loads(one.result_file.read_text()) for one in (whole, broken))
    assert first["families"] == second["families"] and first["best"] == second["best"]
    record = first["relatedness"]
    assert record == second["relatedness"]
    assert record["affinity"].keys() == {"low>high", "high>low"} and record["cosine"].keys() == {"low-high"}
    lines = [line for line in read(whole.metrics_file) if "affinity/low>high" in line]
    assert [line["step"] for line in lines] == [0, 2] and record["measured"] == 2
    assert record["affinity"]["low>high"] == pytest.approx(sum(line["affinity/low>high"] for line in lines) / 2)
    assert (whole.plots / "affinity.png").read_bytes().startswith(b"\x89PNG")
