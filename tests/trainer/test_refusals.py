"""What is refused before anything is written: other data, other selection, what cannot be built or tested."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from metamtl.errors import MetamtlError, UsageError
from metamtl.evaluation.run import evaluate_run
from metamtl.trainer.run import resume_run
from tests.data.image_files import class_folders, unpacked
from tests.trainer.runs import Runs, files, status, trained_here, weights

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
