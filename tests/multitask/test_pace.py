"""Weightings that learn numbers of their own: how fast, against the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.multitask.bowls import weighting_of
from tests.multitask.composed import short, trained
from tests.multitask.resumed import unbroken_and_resumed


@pytest.mark.parametrize("name, own", [("uncertainty", "log_variances"), ("auto_lambda", "lambdas")])
def test_a_weighting_learns_at_a_pace_of_its_own(name: str, own: str, tmp_path: Path) -> None:
    """Of the first update by Adam, whose size is the rate: the weighting moves so much further, nothing else does."""
    moved = {}
    for pace in (1.0, 40.0):
        run = trained(tmp_path / str(pace), 1, weighting={"name": name, "pace": pace})
        weights = torch.load(run.path / "checkpoints" / "last.pt", weights_only=True)["learner"]
        moved[pace] = weights.pop(f"weighting.{own}"), weights
    start = weighting_of(name, ["regression"] * 2).state_dict()[own].float()
    torch.testing.assert_close(moved[40.0][0] - start, 40 * (moved[1.0][0] - start), rtol=1e-3, atol=1e-6)
    assert all(torch.equal(moved[1.0][1][key], moved[40.0][1][key]) for key in moved[1.0][1])


def test_a_stopped_run_goes_on_at_that_pace(tmp_path: Path) -> None:
    first, second = unbroken_and_resumed(short(6, weighting={"name": "uncertainty", "pace": 40.0}), tmp_path)
    assert first["families"] == second["families"] and first["best"] == second["best"]
