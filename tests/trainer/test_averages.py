"""The average of the weights where the network keeps running statistics: both are averaged alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from metamtl.build import build_parts
from metamtl.data.opening import open_source
from metamtl.engine.world import World
from metamtl.evaluation.protocol import evaluate_episodes
from metamtl.runs import metrics
from metamtl.trainer.run import resume_run
from tests.trainer.runs import Runs, assert_same, trained_here, weights

DECAY = 0.75


def _config(runs: Runs, steps: int) -> dict[str, Any]:
    return runs.config("protonet", f"trainer.ema={DECAY}", "backbone.norm=running", f"trainer.steps={steps}")


def test_statistics_are_averaged_saved_and_tested_with_the_weights(runs: Runs, tmp_path: Path) -> None:
    after = [trained_here(_config(runs, n), tmp_path / str(n)) for n in (1, 2, 3)]
    own = [weights(run)["learner"] for run in after]
    best, ema = weights(after[-1], "best")["learner"], weights(after[-1])["ema"]
    assert any(name.endswith("running_var") for name in ema)
    for name, value in ema.items():
        expected = DECAY * (DECAY * own[0][name] + (1 - DECAY) * own[1][name]) + (1 - DECAY) * own[2][name]
        torch.testing.assert_close(value, expected)
        assert torch.equal(best[name], value)
    (line,) = [line for line in metrics.read(after[-1] / "metrics.jsonl") if line["split"] == "val"]
    assert line["val/loss"] == _validation_loss(runs, best)
    statistics = {name: value for name, value in own[2].items() if "running" in name}
    assert line["val/loss"] != pytest.approx(_validation_loss(runs, {**best, **statistics}), rel=1e-4)


def _validation_loss(runs: Runs, learner: dict[str, torch.Tensor]) -> float:
    config = _config(runs, 3)
    parts = build_parts(config, open_source(config))
    parts.learner.load_state_dict(learner)
    return float(evaluate_episodes(parts, World(0, 1), "val", 10)["loss"].mean())


def test_averages_of_statistics_survive_a_stop(runs: Runs, tmp_path: Path) -> None:
    half = trained_here(_config(runs, 4), tmp_path / "half")
    resume_run(half, ["trainer.steps=8"])
    assert_same(half, trained_here(_config(runs, 8), tmp_path / "whole"))
