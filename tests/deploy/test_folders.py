"""Adapting to folders of pictures of alphabets that training never saw is as accurate as the run's own test of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from metamtl.cli import main
from tests.installed import ROOT

SCRIPT = ROOT / "scripts" / "adapt_to_folders.py"
TASKS = 6
SMALL = ["backbone.width=16", "trainer.steps=60", "trainer.task.ways=5", "trainer.task.queries=5", "task.queries=5"]
METHODS: dict[str, list[str]] = {"protonet": [], "maml": ["--transductive"]}
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the scripts are not installed beside metamtl")


@pytest.mark.parametrize("algo", ["protonet", pytest.param("maml", marks=pytest.mark.slow)])
def test_folders_of_unseen_alphabets_reach_the_runs_own_accuracy(algo: str, tmp_path: Path) -> None:
    data = os.environ.get("METAMTL_TEST_DATA")
    if not data:
        pytest.skip("set METAMTL_TEST_DATA to a folder with omniglot")
    words = [f"algo={algo}", "data=omniglot", f"paths.data={data}", f"paths.outputs={tmp_path}", *SMALL]
    assert main(["train", *words, "eval.val_episodes=20", f"eval.episodes={TASKS}", "eval.choose={}"]) == 0
    (run,) = tmp_path.iterdir()

    command = [sys.executable, str(SCRIPT), str(run), str(TASKS), *METHODS[algo]]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    means = {line[:20].strip(): float(line[20:].split()[0]) for line in told.splitlines()}

    assert re.search(rf"over {TASKS} tasks$", told, re.MULTILINE)
    assert means["adapted to folders"] == means["the run's own tasks"] > 0.4  # chance is 0.2
    assert means["difference"] == 0
