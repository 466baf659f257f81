"""What is refused before anything is written: other data, other selection, what cannot be built or tested."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from metamtl.config.compose import compose
from metamtl.config.library import Library
from metamtl.errors import MetamtlError, UsageError
from metamtl.evaluation.run import evaluate_run
from metamtl.trainer.run import resume_run, train_run
from tests.data.image_files import class_folders, unpacked
from tests.trainer.runs import Runs, files, only_run, status, trained_here, weights

OFFERED = sorted(Library.load().groups["algo"])
# what learns numbers to predict from few of them
OF_NUMBERS = {
    *("anil", "boil", "cavia", "cnp", "fomaml", "imaml", "learned_optimizer", "maml", "mamlpp", "metacurvature"),
    *("metasgd", "mmaml", "mtml", "reptile"),
}
ONE_UPDATE = (
    *("backbone=mlp", "backbone.hidden=[4]", "task.ways=2", "task.shots=2", "task.queries=2", "trainer.steps=1"),
    *("trainer.device=cpu", "trainer.threads=1", "trainer.pictures=0"),
    *("eval.val_episodes=2", "eval.episodes=2", "eval.gap_episodes=2"),
)
FEW_DRAWINGS = ("data=folder", "data.size=16", "data.channels=grey", "data.ratios=[0.5,0.25,0.25]", *ONE_UPDATE)
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def test_a_run_whose_data_has_changed_is_neither_resumed_nor_tested(runs: Runs, tmp_path: Path) -> None:
    images = shutil.copytree(runs.images, tmp_path / "images")
    run = trained_here(runs.config("protonet", f"data.root={images}", "trainer.steps=2"), tmp_path)
    before = files(run)
    unpacked(images, class_folders(["24", "25"], images=6, channels=1))
    told = (
        rf"^The data set folder has changed since {re.escape(str(run))} was started .*restore the data, or start a new"
    )
    for again in (resume_run, evaluate_run):
        with pytest.raises(MetamtlError, match=told) as said:
            again(run, ["eval.episodes=30"])
        assert said.value.exit_code == 1
        assert "\n" not in str(said.value)
        assert files(run) == before
    assert not list(run.glob("eval/*"))
    for name in ("24", "25"):
        shutil.rmtree(images / name)
    resume_run(run, ["trainer.steps=4"])
    assert weights(run)["progress"]["total"] == 4


@pytest.mark.parametrize("change", ["eval.seed=1", "eval.val_episodes=11", "eval.split=val", "eval.transductive=true"])
def test_what_selects_cannot_change_on_resume(runs: Runs, tmp_path: Path, change: str) -> None:
    run = runs.copy(runs.finished("protonet"), tmp_path)
    before = files(run)
    with pytest.raises(UsageError, match=re.escape(change.partition("=")[0]) + " is settled when a run starts") as said:
        resume_run(run, [change])
    assert said.value.exit_code == 2
    assert files(run) == before


def test_the_number_of_test_episodes_may_change_on_resume(runs: Runs, tmp_path: Path) -> None:
    run = runs.copy(runs.finished("protonet"), tmp_path)
    resume_run(run, ["eval.episodes=30"])
    assert json.loads((run / "result.json").read_text())["test"]["accuracy"]["episodes"] == 30
    assert weights(run)["learner"].keys() == weights(runs.finished("protonet"))["learner"].keys()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param(["trainer.device=cuda"], r"trainer\.device=cuda is not available", marks=without_gpu),
        (["backbone.blocks=5"], "Images of 16x16 vanish in 5 halvings"),
    ],
)
def test_what_cannot_be_built_leaves_no_folder(runs: Runs, tmp_path: Path, changes: Sequence[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        trained_here(runs.config("protonet", *changes), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("algo", OFFERED)
def test_numbers_to_predict_are_learnt_or_refused(algo: str, tmp_path: Path) -> None:
    config = compose(["data=sinusoid", f"algo={algo}", *ONE_UPDATE, f"paths.outputs={tmp_path / 'outputs'}"])
    if algo in OF_NUMBERS:
        train_run(config, ["metamtl", "train"])
        assert weights(only_run(tmp_path))["progress"]["total"] == 1
        return
    with pytest.raises(UsageError, match=rf"^algo={algo} .*(algo=maml|algo=cnp)") as said:
        train_run(config, ["metamtl", "train"])
    assert len(said.value.problems) == 1 and "\n" not in str(said.value)
    assert not list(tmp_path.iterdir())


def test_the_usual_method_refuses_other_numbers_to_predict(tmp_path: Path) -> None:
    config = compose(["data=functions", *ONE_UPDATE, f"paths.outputs={tmp_path / 'outputs'}"])
    with pytest.raises(UsageError, match=r"^algo=protonet tells classes apart; functions has no classes but numbers"):
        train_run(config, ["metamtl", "train"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("algo", ["joint", "lamaml"])
def test_fixed_classes_are_not_tested_on_others(algo: str, runs: Runs, tmp_path: Path) -> None:
    config = compose([f"algo={algo}", *FEW_DRAWINGS])
    config["data"]["root"], config["paths"]["outputs"] = str(runs.images), str(tmp_path / "outputs")
    config["paths"]["cache"] = str(runs.folder / "cache")
    said = f"^algo={algo} learns fixed classes, and folder tests classes that training has not met: .*algo=baseline"
    with pytest.raises(UsageError, match=said):
        train_run(config, ["metamtl", "train"])
    assert not list(tmp_path.iterdir())


@without_gpu
def test_a_run_resumed_on_a_device_that_is_not_there_stays_as_it_is(runs: Runs, tmp_path: Path) -> None:
    run = runs.copy(runs.finished("protonet"), tmp_path)
    before = files(run)
    with pytest.raises(UsageError, match=r"trainer\.device=cuda is not available"):
        resume_run(run, ["trainer.device=cuda"])
    assert files(run) == before
    assert status(run) == "completed"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("task.ways=5", "has learnt a head for 3 ways"),
        pytest.param("trainer.device=cuda", "is not available", marks=without_gpu),
    ],
)
def test_an_evaluation_that_cannot_be_leaves_no_folder(runs: Runs, tmp_path: Path, change: str, told: str) -> None:
    run = runs.copy(runs.finished("maml"), tmp_path)
    before = files(run)
    with pytest.raises(UsageError, match=told):
        evaluate_run(run, [change])
    assert files(run) == before
    assert not (run / "eval").exists()
