"""Nearest centroid and chance: nothing to learn, and runs like any other."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from metamtl.config.compose import compose
from metamtl.data.family import Regression
from metamtl.errors import UsageError
from metamtl.evaluation.run import evaluate_run
from metamtl.runs import metrics
from metamtl.trainer.run import resume_run, train_run
from tests.algos.suite import WAYS, Blobs, engine_of, make


def test_the_nearest_mean_of_raw_inputs_wins() -> None:
    task = Blobs((1, 4, 4)).tasks(1).single()
    assert isinstance(task.support.x, Tensor) and isinstance(task.query.x, Tensor)
    learner = make("centroid").eval()
    outputs = learner.predict(learner.adapt(task.support), task.query.x)
    x, y = task.support.x.flatten(1), task.support.labels
    means = torch.stack([x[y == c].mean(0) for c in range(WAYS)])
    torch.testing.assert_close(outputs, -torch.cdist(task.query.x.flatten(1), means).square())
    assert not list(learner.parameters()) and not learner.state_dict()


def test_chance_is_one_in_ways_in_every_task() -> None:
    learner = make("chance").eval()
    figures = engine_of(learner).evaluate([Blobs((12,)).tasks(7, shots=1)])
    torch.testing.assert_close(figures["accuracy"].double(), torch.full((7,), 1 / WAYS).double())
    torch.testing.assert_close(figures["loss"].double(), torch.full((7,), math.log(WAYS)).double())


def test_chance_is_one_in_ways_of_uneven_queries_in_expectation() -> None:
    """Over all ways to deal labels to classes, whatever the number of queries of each."""
    counts, learner = [7, 1, 2, 0, 5], make("chance").eval()
    shares = []
    for shift in range(WAYS):
        labels = torch.arange(WAYS).roll(shift).repeat_interleave(torch.tensor(counts))
        outputs = learner.predict(torch.zeros(WAYS), torch.zeros(len(labels), 12))
        shares.append((outputs.argmax(1) == labels).double().mean())
    assert float(torch.stack(shares).mean()) == pytest.approx(1 / WAYS)


def test_chance_needs_classes() -> None:
    with pytest.raises(UsageError, match="algo=maml"):
        make("chance", family=Regression("waves", 1))


@pytest.mark.parametrize("algo", ["centroid", "chance"])
def test_a_run_is_as_ordinary_as_any_other(algo: str, tmp_path: Path, cache: Path) -> None:
    few = ["eval.episodes=20", "eval.val_episodes=10", "eval.gap_episodes=0", "trainer.pictures=2"]
    few += ["trainer.device=cpu"]
    config = compose([f"algo={algo}", "data=glyphs", *few, f"paths.cache={cache}", f"paths.outputs={tmp_path}"])
    train_run(config, ["metamtl", "train"])
    (run,) = (path.parent for path in tmp_path.glob("*/meta.json"))
    result = json.loads((run / "result.json").read_text())
    assert json.loads((run / "meta.json").read_text())["status"] == "completed"
    assert result["train"]["steps"] == 0 == result["model"]["parameters"]
    assert result["best"]["step"] == 0
    assert [line["split"] for line in metrics.read(run / "metrics.jsonl")] == ["val"]
    assert {"best.pt", "last.pt"} <= {path.name for path in (run / "checkpoints").iterdir()}
    found = np.load(run / "episodes.npy")
    assert found.shape == (20, 2)
    accuracy = result["test"]["accuracy"]["mean"]
    assert accuracy == pytest.approx(0.2) if algo == "chance" else accuracy > 0.3
    evaluate_run(run, ["task.ways=10", "eval.episodes=4"])
    (again,) = run.glob("eval/*/result.json")
    assert json.loads(again.read_text())["task"]["ways"] == 10
    resume_run(run, ["eval.episodes=30"])
    assert json.loads((run / "result.json").read_text())["test"]["accuracy"]["episodes"] == 30
