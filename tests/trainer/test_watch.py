"""Whoever watches the validations of a run may end it; the folder says so, and the run can still be trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from metamtl.errors import Pruned
from metamtl.trainer.run import resume_run, train_run
from tests.trainer.runs import STEPS, VALIDATE, Runs, assert_same


def test_a_watcher_hears_every_validation_and_may_end_the_run(runs: Runs, tmp_path: Path) -> None:
    heard: dict[int, float] = {}

    def watch(step: int, figures: Mapping[str, float]) -> None:
        heard[step] = figures["val/mse"]
        if step == 2 * VALIDATE:
            raise Pruned("Another one was better.")

    run = tmp_path / "run"
    with pytest.raises(Pruned):
        train_run(runs.config("sinusoid"), ["metamtl", "train"], run, watch)
    assert list(heard) == [VALIDATE, 2 * VALIDATE]
    meta = json.loads((run / "meta.json").read_text())
    assert (meta["status"], meta["reason"]) == ("pruned", "Another one was better.")
    assert not (run / "result.json").exists()
    resumed: list[int] = []
    resume_run(run, (), lambda step, figures: resumed.append(step))
    assert resumed[-1] == STEPS
    assert_same(run, runs.finished("sinusoid"))
