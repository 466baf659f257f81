"""A learner of two stages: each is trained, averaged and selected for itself, and a stop in either changes nothing."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from metamtl.algos.base import Stage
from metamtl.algos.baseline import Baseline
from metamtl.build import build_parts
from metamtl.config.compose import compose
from metamtl.data.opening import open_source
from metamtl.data.task import TaskBatch, size
from metamtl.engine.update import Update
from metamtl.engine.world import World
from metamtl.errors import Interrupted, UsageError
from metamtl.registry import register
from metamtl.runs import metrics
from metamtl.trainer.run import resume_run
from metamtl.trainer.streams import EpisodeStream, MinibatchStream
from tests.trainer.runs import Runs, assert_same, status, step_of, trained_here, weights

FIRST, SECOND = 5, 7  # steps of the stages
STILL = ("trainer.optimizer.lr=0", "backbone.norm=group")  # no validation is better than the first of its stage


@register("algo", "two_stages")
class TwoStages(Baseline):
    """The pre-trained network is then meta-trained through the fitting of its heads."""

    stages = (*Baseline.stages, Stage("meta", "episodes"))


def _config(runs: Runs, *changes: str) -> dict[str, Any]:
    few = (f"trainer.steps={SECOND}", "trainer.validate_every=2", "trainer.meta_batch=2", "trainer.log_every=2")
    config = runs.config("baseline", *few, *changes)
    config["algo"] = {**config["algo"], "name": "two_stages"}
    config["trainer"] = {**config["trainer"], "stages": {"pretrain": {"steps": FIRST}}}
    return config


def _validations(run: Path) -> list[int]:
    return [line["step"] for line in metrics.read(run / "metrics.jsonl") if line["split"] == "val"]


@pytest.fixture(scope="module")
def unbroken(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metamtl.trainer.session.plot_curves", lambda run: None)
        return trained_here(_config(runs), tmp_path_factory.mktemp("unbroken"))


def test_each_stage_has_its_own_length(unbroken: Path) -> None:
    progress = weights(unbroken)["progress"]
    assert (progress["stage"], progress["step"], progress["total"]) == (1, SECOND, FIRST + SECOND)
    assert _validations(unbroken) == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize(("stream", "step"), [(MinibatchStream, 2), (MinibatchStream, 4), (EpisodeStream, 3)])
def test_a_stop_in_either_stage_changes_nothing(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: Path, stream: Any, step: int
) -> None:
    update = stream.update

    def stopped(self: Any, now: int) -> Update:
        if now == step:
            signal.raise_signal(signal.SIGTERM)
        found: Update = update(self, now)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(stream, "update", stopped)
        with pytest.raises(Interrupted):
            trained_here(_config(runs), tmp_path)
    (run,) = (tmp_path / "outputs").iterdir()
    assert status(run) == "interrupted"
    assert step_of(run) == step + 1 + (FIRST if stream is EpisodeStream else 0)
    resume_run(run)
    assert_same(run, unbroken)


def test_best_average_and_patience_begin_anew_with_a_stage(runs: Runs, tmp_path: Path) -> None:
    """Without a rate each stage validates until its patience ends: 2 and 4 of the first; 6 and 8 of the second."""
    run = trained_here(_config(runs, *STILL, "trainer.patience=1"), tmp_path)
    progress = weights(run)["progress"]
    assert _validations(run) == [2, 4, 6, 8]
    assert (progress["best_step"], progress["stale"], progress["stopped_early"]) == (6, 1, True)


def test_the_average_holds_only_its_own_stage(runs: Runs, tmp_path: Path) -> None:
    run = trained_here(_config(runs, "trainer.steps=1", "trainer.ema=0.9"), tmp_path)
    last = weights(run)
    assert all(torch.equal(value, last["learner"][name]) for name, value in last["ema"].items())
    assert last["optimizer"]["state"][0]["step"] == 1


def test_a_last_stage_of_no_steps_is_selected_all_the_same(runs: Runs, tmp_path: Path) -> None:
    run = trained_here(_config(runs, "trainer.steps=0", f"trainer.validate_every={FIRST}"), tmp_path)
    assert status(run) == "completed"


def test_a_stage_that_is_not_there_is_refused_and_leaves_no_folder(runs: Runs, tmp_path: Path) -> None:
    config = compose(["algo=baseline", "data=omniglot", "+trainer.stages.nonsense.steps=5"])
    assert config["trainer"]["stages"] == {"nonsense": {"steps": 5}}
    config = _config(runs)
    config["trainer"] = {**config["trainer"], "stages": {"nonsense": {"steps": 5}}}
    with pytest.raises(UsageError, match=r"trainer\.stages\.nonsense: .* its earlier stages are pretrain"):
        trained_here(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_each_stage_has_its_own_options(runs: Runs, tmp_path: Path) -> None:
    """Another optimiser, rate, schedule, batch and clipping of the first; the second's are those of `trainer`."""
    config = _config(runs, "trainer.log_every=1", "trainer.schedule.name=constant")
    own = {
        "steps": FIRST,
        "batch_size": 6,
        "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.0},
        "schedule": {"name": "linear"},
        "clip_norm": 1e-3,
    }
    config["trainer"] = {**config["trainer"], "stages": {"pretrain": own}}
    run = trained_here(config, tmp_path)
    lines = [line for line in metrics.read(run / "metrics.jsonl") if line["split"] == "train"]
    rates = [line["train/lr"] for line in lines]
    assert rates[:FIRST] == pytest.approx([0.5 * (1 - step / FIRST) for step in range(FIRST)])
    assert rates[FIRST:] == [config["trainer"]["optimizer"]["lr"]] * SECOND
    assert weights(run)["progress"]["tasks"] == 6 * FIRST + 2 * SECOND
    assert "exp_avg" in weights(run)["optimizer"]["state"][0]  # the second stage's Adam


def test_clipping_of_a_stage_acts(runs: Runs, tmp_path: Path) -> None:
    """Steps of sgd that are clipped to nothing leave the weights as they began."""
    config = _config(runs, "trainer.steps=0")
    own = {"steps": FIRST, "optimizer": {"name": "sgd", "lr": 1.0, "momentum": 0.0}, "clip_norm": 1e-12}
    config["trainer"] = {**config["trainer"], "stages": {"pretrain": own}}
    still = weights(trained_here(config, tmp_path / "still"))["learner"]
    own["clip_norm"] = None
    moved = weights(trained_here(config, tmp_path / "moved"))["learner"]
    name = "network.head.weight"
    assert not torch.allclose(still[name], moved[name], atol=1e-3)


def test_a_stage_on_episodes_has_its_own_tasks(runs: Runs) -> None:
    config = _config(runs)
    own = {"task": {"ways": 4, "shots": 2}, "meta_batch": 3}
    config["trainer"] = {**config["trainer"], "stages": {"pretrain": own}}
    parts = build_parts(config, open_source(config))
    stream = EpisodeStream(parts, Stage("pretrain", "episodes"), World(0, 1))
    (batch,) = _batches_of(stream)
    assert (len(batch), batch.support.ways, size(batch.support.x, 1)) == (3, 4, 8)
    (batch,) = _batches_of(EpisodeStream(parts, parts.learner.stages[1], World(0, 1)))
    assert (len(batch), batch.support.ways, size(batch.support.x, 1)) == (2, 3, 3)
    assert parts.family.outputs == 4  # heads have room for both


def _batches_of(stream: Any) -> list[TaskBatch]:
    seen: list[TaskBatch] = []
    gradient = stream.parts.engine.meta_gradient

    def noting(batches: list[TaskBatch]) -> Update:
        seen.extend(batches)
        found: Update = gradient(batches)
        return found

    stream.parts.engine.meta_gradient = noting
    try:
        stream.update(0)
    finally:
        stream.parts.engine.meta_gradient = gradient
    return seen


def test_a_resumed_run_may_lengthen_an_earlier_stage_and_change_no_more_of_it(runs: Runs, tmp_path: Path) -> None:
    config = _config(runs, "trainer.steps=1")
    config["trainer"]["stages"] = {"pretrain": {"steps": 1, "batch_size": 5}}
    run = trained_here(config, tmp_path)
    with pytest.raises(UsageError, match=r"trainer\.stages\.pretrain\.batch_size is settled when a run starts"):
        resume_run(run, ["trainer.stages.pretrain.batch_size=4"])
    resume_run(run, ["trainer.stages.pretrain.steps=2"])
    assert status(run) == "completed"
