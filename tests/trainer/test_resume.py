from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import pytest
import torch

from metamtl.runs import checkpoints
from tests.trainer.processes import command, ended, start, training
from tests.trainer.runs import (
    STEPS,
    Runs,
    assert_same,
    differences,
    only_run,
    resumed,
    status,
    step_of,
    weights,
)


@pytest.fixture(scope="module")
def broken(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that SIGKILL ended after its second best.pt; to be copied."""
    return _killed(runs, "sinusoid", tmp_path_factory.mktemp("broken"))


def _killed(runs: Runs, kind: str, folder: Path, *changes: str) -> Path:
    """A run killed between two checkpoints, with metrics beyond the last one, the last of them torn."""
    running = start(training(runs.config(kind, *changes)), folder)
    running.wait_for(lambda: any(step_of(meta.parent) >= 12 for meta in folder.glob("outputs/*/meta.json")))
    running.send(signal.SIGKILL)
    assert running.end() == -signal.SIGKILL
    run = only_run(folder)
    assert status(run) == "running"
    assert 12 <= step_of(run) < STEPS
    with (run / "metrics.jsonl").open("a") as file:
        file.write(f'{{"step": {step_of(run) + 1}, "split": "train", "train/loss": 1.0}}\n{{"step": ')
    return run


def _survives(runs: Runs, kind: str, folder: Path, kills: int, *changes: str) -> None:
    """Kills a run at random moments of its life, start-up included, until it has ended and died often enough."""
    moments = random.Random(kills)
    unbroken = runs.finished(kind, *changes)
    died = lives = 0
    while died < kills:
        lives += 1
        place = folder / str(lives)
        while not (any(place.glob("outputs/*/meta.json")) and status(only_run(place)) == "completed"):
            job = training(runs.config(kind, *changes))
            if any(place.glob("outputs/*/meta.json")):  # a kill before that leaves no run to go on with
                job = command("resume", str(only_run(place)))
            running = start(job, place)
            running.process.join(moments.uniform(0.0, 1.0) if died < kills else None)
            if running.process.is_alive():
                running.send(signal.SIGKILL)
                died += 1
            assert running.end() in (0, -signal.SIGKILL), running.err
        assert_same(only_run(place), unbroken)


def test_a_run_killed_ten_times_ends_as_an_unbroken_one(runs: Runs, tmp_path: Path) -> None:
    _survives(runs, "sinusoid", tmp_path, 10, "trainer.steps=60")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sinusoid", "maml", "protonet", "baseline"])
def test_a_run_killed_forty_times_ends_as_an_unbroken_one(runs: Runs, tmp_path: Path, kind: str) -> None:
    _survives(runs, kind, tmp_path, 40, "trainer.steps=120")


@pytest.mark.parametrize("kind", ["maml", "protonet", "baseline"])
def test_every_kind_of_state_survives_a_kill(runs: Runs, tmp_path: Path, kind: str) -> None:
    run = _killed(runs, kind, tmp_path)
    resumed(run)
    assert_same(run, runs.finished(kind))


def test_states_that_must_survive_do_change(runs: Runs) -> None:
    """Guards the tests above: running averages, the average of the weights and the optimiser's moments are in use."""
    averages = weights(runs.finished("protonet"))["learner"]
    assert any(name.endswith("running_mean") and value.abs().sum() > 0 for name, value in averages.items())
    last = weights(runs.finished("sinusoid"))
    assert any(not value.equal(last["learner"][name]) for name, value in last["ema"].items())
    assert last["optimizer"]["state"][0]["exp_avg"].abs().sum() > 0


def test_a_kill_before_the_first_checkpoint(runs: Runs, tmp_path: Path) -> None:
    running = start(training(runs.config("sinusoid")), tmp_path)
    running.wait_for(lambda: any(tmp_path.glob("outputs/*/meta.json")))
    running.send(signal.SIGSTOP)  # so that it gets no further while we look
    run = only_run(tmp_path)
    early = step_of(run) == -1
    running.send(signal.SIGKILL)
    running.end()
    assert early, "the run had a checkpoint already"
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "checkpoints" / "last.pt").write_bytes(b"the bytes, and no sidecar yet")
    assert "stopped before its first checkpoint: it starts from step 0" in resumed(run)
    assert_same(run, runs.finished("sinusoid"))


@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(runs: Runs, broken: Path, tmp_path: Path, how: str) -> None:
    run = runs.copy(broken, tmp_path)
    _damage(run / "checkpoints" / "last.pt", how)
    said = resumed(run)
    assert "last.pt is " in said and "going on from previous.pt (step" in said
    assert_same(run, runs.finished("sinusoid"))


def _damage(file: Path, how: str) -> None:
    content = bytearray(file.read_bytes())
    if how == "gone":
        file.unlink()
        return
    if how == "changed":
        content[random.Random(0).randrange(len(content))] ^= 0xFF
    file.write_bytes(content[: len(content) // 2] if how == "cut" else content)


def test_two_damaged_checkpoints_are_an_error(runs: Runs, broken: Path, tmp_path: Path) -> None:
    run = runs.copy(broken, tmp_path)
    before = (run / "metrics.jsonl").read_bytes()
    for name in ("last", "previous"):
        _damage(run / "checkpoints" / f"{name}.pt", "cut")
    said = ended(command("resume", str(run)), tmp_path, code=1).err
    assert "No sound checkpoint 'last'" in said and "last.pt is damaged" in said and "previous.pt is damaged" in said
    assert len(said.splitlines()) == 1
    assert (run / "metrics.jsonl").read_bytes() == before


def test_lost_checkpoints_do_not_restart_a_run_that_got_somewhere(runs: Runs, broken: Path, tmp_path: Path) -> None:
    run = runs.copy(broken, tmp_path)
    for file in (run / "checkpoints").iterdir():
        file.unlink()
    assert "No sound checkpoint 'last'" in ended(command("resume", str(run)), tmp_path, code=1).err


def test_best_weights_that_training_never_reached_again_are_not_tested(runs: Runs, tmp_path: Path) -> None:
    """A kill between best.pt and last.pt leaves a best.pt of the future; the one before is what last.pt means.

    With a rate of zero the first validation stays the best.
    """
    run = _killed(runs, "sinusoid", tmp_path, "trainer.optimizer.lr=0")
    learner = {name: value + 1 for name, value in weights(run, "best")["learner"].items()}
    payload = tmp_path / "future.pt"
    torch.save({"learner": learner}, payload)
    checkpoints.save(run / "checkpoints", "best", payload.read_bytes(), {"step": 999})
    resumed(run)
    assert_same(run, runs.finished("sinusoid", "trainer.optimizer.lr=0"))


def test_lost_best_weights_are_told_and_chosen_anew(runs: Runs, broken: Path, tmp_path: Path) -> None:
    run = runs.copy(broken, tmp_path)
    for name in ("best", "previous-best"):
        (run / "checkpoints" / f"{name}.pt").unlink(missing_ok=True)
    assert "are lost or damaged: the next validation chooses anew" in resumed(run)
    assert status(run) == "completed"
    assert list(differences(weights(run)["learner"], weights(runs.finished("sinusoid"))["learner"])) == []


def test_raised_steps_continue_a_finished_run(runs: Runs, tmp_path: Path) -> None:
    run = runs.copy(runs.finished("sinusoid"), tmp_path)
    resumed(run, "trainer.steps=36")
    assert "steps: 36" in (run / "config.yaml").read_text()
    assert_same(run, runs.finished("sinusoid", "trainer.steps=36"))


def test_fewer_steps_than_are_done_are_refused(runs: Runs, tmp_path: Path) -> None:
    run = runs.copy(runs.finished("sinusoid"), tmp_path)
    said = ended(command("resume", str(run), "trainer.steps=20"), tmp_path, code=2).err
    assert f"{STEPS} steps are done already: set trainer.steps={STEPS} or more" in said
    assert f"steps: {STEPS}" in (run / "config.yaml").read_text()
    assert "rises again" not in said and json.loads((run / "meta.json").read_text())["status"] == "completed"


def test_a_finished_run_stays_as_it_is(runs: Runs, tmp_path: Path) -> None:
    run = runs.copy(runs.finished("sinusoid"), tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert "is complete; raise trainer.steps" in ended(command("resume", str(run)), tmp_path).out
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_patience_is_counted_across_a_kill_and_may_be_raised(runs: Runs, tmp_path: Path) -> None:
    """With a rate of zero no validation is better than the first, at step 6."""
    still, patient = "trainer.optimizer.lr=0", "trainer.patience=2"
    run = _killed(runs, "sinusoid", tmp_path, still, "trainer.patience=3", "trainer.validate_every=5")
    resumed(run)
    unbroken = runs.finished("sinusoid", still, "trainer.patience=3", "trainer.validate_every=5")
    assert step_of(run) == 20  # 5, then three validations no better
    assert_same(run, unbroken)
    stopped = runs.copy(runs.finished("sinusoid", still, patient), tmp_path / "other")
    assert step_of(stopped) == 18
    assert "stopped at step 18: raise trainer.patience" in resumed(stopped, "trainer.steps=30")
    resumed(stopped, "trainer.patience=4")
    assert_same(stopped, runs.finished("sinusoid", still, "trainer.patience=4", "trainer.steps=30"))


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    said = ended(command("resume", "nowhere"), tmp_path, code=1).err
    assert "There is no run folder nowhere" in said
