from __future__ import annotations

import io
import json
import os
import pickle
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metamtl.engine.update import Update
from metamtl.runs import checkpoints, metrics
from metamtl.trainer.run import train_run
from metamtl.trainer.streams import EpisodeStream
from tests.trainer.disk import can_mount, fills_up_and_goes_on, finds_a_disk_that_cannot_be_written
from tests.trainer.processes import Running, command, ended, start, training
from tests.trainer.runs import STEPS, Runs, assert_same, only_run, status, step_of, weights

EXPLOSIVE = ("algo.inner_lr=1e30", "algo.inner_steps=3")


def _sentence(running: Running) -> str:
    """The one line that says what went wrong, after those that say how the run went."""
    assert "Traceback" not in running.err
    return running.err.splitlines()[-1]


def test_a_loss_that_is_not_finite_stops_with_all_that_one_needs(runs: Runs, tmp_path: Path) -> None:
    said = _sentence(ended(training(runs.config("sinusoid", *EXPLOSIVE)), tmp_path, code=1))
    assert said.startswith("Step 1 is not finite (loss ")
    assert "training tasks 0 to 24; optimizer.lr=0.001, inner_lr=1e+30)" in said
    run = only_run(tmp_path)
    assert status(run) == "failed"
    assert "Traceback" in (run / "log.txt").read_text()
    assert json.loads((run / "meta.json").read_text())["reason"] == said
    assert step_of(run) == 0
    assert all(weight.isfinite().all() for weight in weights(run)["learner"].values())
    skipping = ended(command("resume", str(run), "trainer.on_nan=skip", "trainer.nan_limit=3"), tmp_path, code=1)
    assert "trainer.nan_limit=3 skips are used up" in _sentence(skipping)
    assert sum("skipped (" in line for line in skipping.err.splitlines()) == 3


def test_a_run_whose_validations_never_gave_a_number_has_failed(runs: Runs, tmp_path: Path) -> None:
    said = _sentence(ended(training(runs.config("sinusoid", "algo.test_lr=1e30")), tmp_path, code=1))
    assert said.startswith(f"Diverged: no validation up to step {STEPS} gave a number")
    assert "lower a rate (optimizer.lr=0.001, inner_lr=0.01, test_lr=1e+30)" in said
    run = only_run(tmp_path)
    assert json.loads((run / "meta.json").read_text())["reason"] == said
    assert status(run) == "failed" and not (run / "result.json").exists()
    again = ended(command("resume", str(run)), tmp_path, code=1)
    assert _sentence(again) == said and status(run) == "failed"


def test_a_skipped_update_changes_nothing_but_the_count(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = EpisodeStream.update

    def poisoned(self: EpisodeStream, step: int) -> Update:
        found = update(self, step)
        if step == 1:
            next(iter(found.gradient.values())).view(-1)[0] = torch.nan
        return found

    changes = ("trainer.on_nan=skip", "trainer.log_every=1", "trainer.steps=2", f"paths.outputs={tmp_path / 'outputs'}")
    monkeypatch.setattr(EpisodeStream, "update", poisoned)
    train_run(runs.config("protonet", *changes), ["metamtl"])
    run = only_run(tmp_path)
    assert weights(run)["progress"]["skipped"] == 1
    assert [line["step"] for line in metrics.read(run / "metrics.jsonl") if line["split"] == "train"] == [1]
    one = runs.finished("protonet", "trainer.on_nan=skip", "trainer.log_every=1", "trainer.steps=1")
    alone = weights(one)["learner"]
    assert all(torch.equal(value, alone[name]) for name, value in weights(run)["learner"].items())


def test_a_second_process_on_one_run_hears_who_holds_it(runs: Runs, tmp_path: Path) -> None:
    holder = start(training(runs.config("sinusoid", "trainer.steps=100000")), tmp_path)
    holder.wait_for(lambda: any(step_of(meta.parent) >= 4 for meta in tmp_path.glob("outputs/*/meta.json")))
    holder.send(signal.SIGSTOP)
    run = only_run(tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    said = _sentence(ended(command("resume", str(run)), tmp_path, code=1))
    holder.send(signal.SIGKILL)
    holder.end()
    assert f"in use by process {holder.process.pid} on " in said
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(not can_mount(), reason="only root may mount a small file system")
def test_a_disk_that_fills_up_costs_nothing(runs: Runs, tmp_path: Path) -> None:
    config = runs.config("sinusoid", "trainer.steps=120")
    running = ended(partial(fills_up_and_goes_on, config, 12), tmp_path, code=1)
    assert "No space left on the disk of" in running.err
    assert f"free some and run `metamtl resume {tmp_path / 'outputs'}" in running.err
    assert "Traceback" not in running.err
    full = only_run_in(tmp_path / "full")
    assert status(full) == "running"  # there was no space to say otherwise
    assert checkpoints.load(full / "checkpoints", "last").info["step"] >= 12
    assert_same(only_run(tmp_path / "kept"), runs.finished("sinusoid", "trainer.steps=120"))


def only_run_in(outputs: Path) -> Path:
    (found,) = outputs.glob("*/meta.json")
    return found.parent


@pytest.mark.skipif(not can_mount(), reason="only root may mount a file system that cannot be written")
def test_outputs_that_cannot_be_written_are_told(runs: Runs, tmp_path: Path) -> None:
    said = _sentence(ended(partial(finds_a_disk_that_cannot_be_written, runs.config("sinusoid")), tmp_path, code=1))
    assert str(tmp_path / "outputs") in said and "Read-only file system" in said


class _Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_a_hostile_checkpoint_is_refused(runs: Runs, tmp_path: Path, form: str) -> None:
    run, marker = runs.copy(runs.finished("sinusoid"), tmp_path), tmp_path / "done"
    buffer = io.BytesIO()
    (pickle.dump if form == "pickle" else torch.save)({"learner": _Hostile(marker)}, buffer)
    for name, step in (("last", STEPS), ("best", json.loads((run / "result.json").read_text())["best"]["step"])):
        checkpoints.save(run / "checkpoints", name, buffer.getvalue(), {"step": step})
    for words in (("resume", str(run), "trainer.steps=30"), ("eval", str(run))):
        said = _sentence(ended(command(*words), tmp_path, code=1))
        assert "The checkpoint is refused" in said
    assert not marker.exists()


def test_weights_that_do_not_fit_the_config_are_told(runs: Runs, tmp_path: Path) -> None:
    run = runs.copy(runs.finished("sinusoid"), tmp_path)
    text = (run / "config.yaml").read_text()
    assert "- 40" in text
    (run / "config.yaml").write_text(text.replace("- 40", "- 41", 1))
    said = _sentence(ended(command("eval", str(run)), tmp_path, code=1))
    assert "size mismatch" in said


def test_figures_of_a_run_are_finite_or_said_not_to_be(runs: Runs) -> None:
    """Guards the tests above: an undisturbed run has nothing to skip."""
    run = runs.finished("sinusoid")
    assert weights(run)["progress"]["skipped"] == 0
    assert np.isfinite(np.load(run / "episodes.npy")).all()
