from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch

from metamtl.errors import Interrupted
from metamtl.trainer.checkpoint import learner_of
from metamtl.trainer.signals import StopRequest, interruption
from tests.trainer.processes import Running, command, start, training
from tests.trainer.runs import STEPS, Runs, assert_same, only_run, resumed, status, step_of, weights

CODES = {signal.SIGTERM: 143, signal.SIGUSR1: 143, signal.SIGINT: 130}


def _lines(folder: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in folder.glob("outputs/*/metrics.jsonl"))


def _ends_well(running: Running, folder: Path, number: signal.Signals) -> Path:
    """The run, which the signal stopped in good order."""
    assert running.end() == CODES[number], running.err
    run = only_run(folder)
    assert status(run) == "interrupted"
    assert f"Go on with: metamtl resume {run}" in running.err
    assert "Traceback" not in running.err
    assert not list(run.rglob("*.part"))
    return run


@pytest.mark.parametrize("number", list(CODES))
def test_a_signal_finishes_the_step_and_saves(runs: Runs, tmp_path: Path, number: signal.Signals) -> None:
    # so few checkpoints and validations that what is saved can only be the signal's doing
    rare = ("trainer.checkpoint_every=1000", "trainer.validate_every=20", "trainer.log_every=1", "trainer.steps=40")
    running = start(training(runs.config("sinusoid", *rare)), tmp_path)
    running.wait_for(lambda: _lines(tmp_path) >= 5)
    running.send(number)
    run = _ends_well(running, tmp_path, number)
    done = weights(run)["progress"]["total"]
    assert 5 <= done == step_of(run) < 40
    last = (run / "metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["step"] == done, "a step was begun after the signal, or not saved"
    assert "Stopped by" in json.loads((run / "meta.json").read_text())["reason"]
    resumed(run)
    assert_same(run, runs.finished("sinusoid", *rare))


def test_a_signal_during_the_final_test(runs: Runs, tmp_path: Path) -> None:
    many = ("eval.episodes=4000",)
    running = start(training(runs.config("sinusoid", *many)), tmp_path)
    running.wait_for(lambda: any(step_of(meta.parent) == STEPS for meta in tmp_path.glob("outputs/*/meta.json")))
    running.send(signal.SIGTERM)
    run = _ends_well(running, tmp_path, signal.SIGTERM)
    assert not (run / "result.json").exists()
    resumed(run)
    assert_same(run, runs.finished("sinusoid", *many))


def test_a_signal_before_training_begins(runs: Runs, tmp_path: Path) -> None:
    running = start(training(runs.config("sinusoid")), tmp_path)
    running.wait_for(lambda: any(tmp_path.glob("outputs/*/log.txt")))
    running.send(signal.SIGUSR1)
    run = _ends_well(running, tmp_path, signal.SIGUSR1)
    resumed(run)
    assert_same(run, runs.finished("sinusoid"))


def test_a_second_ctrl_c_ends_at_once_and_loses_only_what_was_not_saved(runs: Runs, tmp_path: Path) -> None:
    slow = ("trainer.meta_batch=20000",)  # a step that takes long
    running = start(training(runs.config("sinusoid", *slow)), tmp_path)
    running.wait_for(lambda: any(step_of(meta.parent) == 0 for meta in tmp_path.glob("outputs/*/meta.json")))
    running.send(signal.SIGINT)
    running.process.join(0.3)
    assert running.process.is_alive(), "the step was not long enough to be interrupted"
    running.send(signal.SIGINT)
    run = _ends_well(running, tmp_path, signal.SIGINT)
    assert step_of(run) == 0


def test_an_evaluation_can_be_stopped(runs: Runs, tmp_path: Path) -> None:
    run = runs.copy(runs.finished("sinusoid"), tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    running = start(command("eval", str(run), "eval.episodes=100000"), tmp_path)
    running.wait_for(lambda: any(run.glob("eval/*/log.txt")))
    running.send(signal.SIGTERM)
    assert running.end() == 143
    (meta,) = run.glob("eval/*/meta.json")
    assert json.loads(meta.read_text())["status"] == "interrupted"
    assert "Traceback" not in running.err
    assert {path: path.read_bytes() for path in before} == before


def test_an_interruption_is_not_taken_for_a_damaged_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise interruption(signal.SIGTERM)

    monkeypatch.setattr(torch, "load", interrupted)
    with pytest.raises(Interrupted, match="SIGTERM"):
        learner_of(b"")


def test_the_first_signal_counts() -> None:
    request = StopRequest()
    request.receive(signal.SIGTERM, None)
    request.receive(signal.SIGUSR1, None)
    assert request.signal == signal.SIGTERM
