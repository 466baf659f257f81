"""Every experiment that conf/ offers trains two steps and ends with a finished run folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metamtl.config.compose import compose
from metamtl.config.library import Library
from metamtl.runs.folder import RunFolder
from metamtl.runs.result import read_result
from metamtl.trainer.run import train_run

EXPERIMENTS = sorted(name for name in Library.load().groups["experiment"] if name != "none")
NEEDS_FILES = {"omniglot"}  # data sets that the default suite does not download


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_trains_two_steps(experiment: str, tmp_path: Path, cache: Path) -> None:
    data = os.environ.get("METAMTL_TEST_DATA")
    small = ["trainer.steps=2", "trainer.meta_batch=2", "trainer.task.ways=5", "backbone.width=8"]
    small += ["eval.episodes=4", "eval.val_episodes=4", "eval.gap_episodes=0"]
    base = compose([f"experiment={experiment}"])
    if base["data"]["name"] in NEEDS_FILES and not data:
        pytest.skip(f"set METAMTL_TEST_DATA to a folder with {base['data']['name']}")
    if base["backbone"]["name"] != "conv4":
        small.remove("backbone.width=8")
    places = [f"paths.outputs={tmp_path}", f"paths.cache={cache}", *([f"paths.data={data}"] if data else [])]
    config = compose([f"experiment={experiment}", *small, *places])
    train_run(config, ["metamtl", "train", f"experiment={experiment}"])
    (run,) = (path for path in tmp_path.iterdir() if (path / "meta.json").exists())
    assert RunFolder.open(run).meta()["status"] == "completed"
    assert read_result(RunFolder.open(run))["train"]["steps"] == 2
    assert (run / "plots" / "curves.png").stat().st_size > 0
