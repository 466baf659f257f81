"""`metamtl train`: what reaches the job, in one run, in a multirun, under torchrun's environment."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from metamtl.cli import main
from tests.commands.stub import environment, run
from tests.config.options import TOY, write


def calls(folder: Path) -> list[dict[str, Any]]:
    record = folder / "calls.jsonl"
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write(tmp_path, {"own/data/toy.yaml": TOY})


OWN = ("--config-dir", "own", "data=toy")


def test_one_run_gets_the_checked_config_before_torch(toy: Path) -> None:
    done = run(toy, "train", "algo=maml", *OWN, "trainer.steps=1e2")
    assert (done.returncode, done.stderr) == (0, "")
    (call,) = calls(toy)
    assert call["config"]["algo"]["name"] == "maml"
    assert call["config"]["trainer"]["steps"] == 100
    assert "about" not in call["config"]
    assert "hydra" not in call["config"]
    assert call["folder"] is None
    assert call["command"] == ["metamtl", "train", "algo=maml", *OWN, "trainer.steps=1e2"]
    assert not call["torch"]
    left = {path.name for path in toy.iterdir()} - {"__pycache__"}  # Python's own, of sitecustomize
    assert left == {"calls.jsonl", "own", "sitecustomize.py"}


def test_a_failure_is_one_sentence_and_a_traceback_elsewhere(toy: Path) -> None:
    done = run(toy, "train", *OWN, "seed=13", TMPDIR=str(toy))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("RuntimeError: thirteen is unlucky; the traceback is in ")
    assert "Traceback" in Path(line.split(" is in ")[1].rstrip(".")).read_text()


def test_usage_errors_are_told_once_under_torchrun(toy: Path) -> None:
    first = run(toy, "train", *OWN, "trainer.step=1", RANK="0")
    other = run(toy, "train", *OWN, "trainer.step=1", RANK="1")
    assert (first.returncode, first.stderr) == (2, "trainer.step: no such key; did you mean trainer.steps?\n")
    assert (other.returncode, other.stderr) == (2, "")
    assert "torchrun" in run(toy, "train", "-m", *OWN, "seed=0,1", RANK="0").stderr


def test_torchrun_reaches_the_job_in_every_process(toy: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "metamtl", "train", *OWN, "seed=5"]
    done = subprocess.run(command, cwd=toy, env=environment(toy), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [call["config"]["seed"] for call in calls(toy)] == [5, 5]


def test_hydras_own_flags(toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy)
    assert main(["train", *OWN, "--cfg", "job", "--package", "backbone"]) == 0
    assert capsys.readouterr().out.startswith("# @package backbone\nname: mlp\n")
    assert str(toy / "own") in run(toy, "train", "--info", "searchpath", *OWN).stdout
    assert main(["train", *OWN, "--cfg", "job", "algo=mml"]) == 2


def test_hydra_leaves_logging_as_it_was(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = ModuleType("metamtl.trainer.run")
    levels: list[tuple[bool, int]] = []
    logger = logging.getLogger("metamtl.made.before")
    note = lambda *_: levels.append((logger.disabled, logging.getLogger().level))  # noqa: E731
    trainer.train_run = note  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "metamtl.trainer.run", trainer)
    monkeypatch.chdir(toy)
    before = logging.getLogger().level
    assert main(["train", *OWN]) == 0
    assert levels == [(False, before)]


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_failing_job_does_not_stop_the_others(launcher: str, toy: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done = run(toy, "train", *OWN, "-m", "seed=0,13,2", f"hydra/launcher={launcher}", "label=trial")
    assert done.returncode == 1
    (sweep,) = (toy / "outputs").iterdir()
    assert sweep.name.endswith("trial")
    assert done.stdout.splitlines()[-1] == f"outputs/{sweep.name}: 2 completed, 1 failed."
    assert done.stderr.startswith(f"outputs/{sweep.name}/1: RuntimeError: thirteen is unlucky; the traceback is in ")
    assert "thirteen is unlucky" in (sweep / "1" / "log.txt").read_text()
    made = {call["folder"]: call for call in calls(toy)}
    assert sorted(made) == [str(sweep / str(number)) for number in range(3)]
    assert made[str(sweep / "2")]["command"] == [
        "metamtl",
        "train",
        "--config-dir",
        "own",
        "data=toy",
        "seed=2",
        "label=trial",
    ]
    assert len((sweep / "jobs.jsonl").read_text().splitlines()) == 3


def test_multiruns_of_one_second_have_their_own_folders(toy: Path) -> None:
    for _ in range(2):
        assert run(toy, "train", *OWN, "-m", "seed=0").returncode == 0
    assert len({call["folder"] for call in calls(toy)}) == 2
    assert "is not empty" in run(toy, "train", *OWN, "-m", "seed=0", "hydra.sweep.dir=own").stderr


def start_multirun(toy: Path, *arguments: str) -> subprocess.Popen[str]:
    """A multirun whose jobs last a minute, once two (or the one that fits) have begun."""
    command = [sys.executable, "-m", "metamtl", "train", *OWN, "-m", "seed=0,1,2,3", *arguments]
    process = subprocess.Popen(
        command, cwd=toy, env=environment(toy, STUB_SECONDS="60"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: bool(calls(toy)), 60)
    return process


def wait_for(ready: Any, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not ready() and time.monotonic() < end:
        time.sleep(0.1)
    return bool(ready())


def survivors(toy: Path) -> list[str]:
    """Processes that carry this test's environment, by way of /proc."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            alive = process.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z"
            if alive and f"STUB_CALLS={toy}".encode() in process.joinpath("environ").read_bytes():
                found.append(process.joinpath("cmdline").read_bytes().decode())
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to see processes")
def test_no_worker_outlives_a_killed_parent(toy: Path) -> None:
    process = start_multirun(toy, "hydra/launcher=joblib", "hydra.launcher.n_jobs=3")
    assert len(survivors(toy)) >= 4  # the parent and three workers
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_for(lambda: not survivors(toy), 20), survivors(toy)


@pytest.mark.parametrize(("launcher", "number"), [("basic", signal.SIGINT), ("joblib", signal.SIGTERM)])
def test_a_signal_stops_the_rest(launcher: str, number: signal.Signals, toy: Path) -> None:
    process = start_multirun(toy, f"hydra/launcher={launcher}", *(["hydra.launcher.n_jobs=1"] * (launcher == "joblib")))
    os.kill(process.pid, number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "1 interrupted, 3 skipped." in out


def test_ctrl_c_reaches_workers_as_an_orderly_stop(toy: Path) -> None:
    process = start_multirun(toy, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert wait_for(lambda: len(calls(toy)) == 2, 30)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "2 interrupted" in out
    assert "2 skipped" in out


def test_keys_of_options_that_are_swept(toy: Path) -> None:
    """Hydra composes a config for the whole multirun without the swept options, where their keys are not."""
    done = run(toy, "train", *OWN, "-m", "algo=maml,fomaml", "algo.inner_lr=0.1,0.2", "seed=1")
    assert done.returncode == 0, done.stderr
    made = [call["config"]["algo"] for call in sorted(calls(toy), key=lambda call: str(call["folder"]))]
    assert [(algo["name"], algo["inner_lr"]) for algo in made] == [
        (name, rate) for name in ("maml", "fomaml") for rate in (0.1, 0.2)
    ]
    (record,) = (toy / "outputs").glob("*/jobs.jsonl")
    first = json.loads(record.read_text().splitlines()[0])
    assert first["overrides"] == ["data=toy", "algo=maml", "algo.inner_lr=0.1", "seed=1"]


def test_a_config_is_shown_of_one_run(toy: Path) -> None:
    done = run(toy, "train", *OWN, "-m", "seed=0,1", "--cfg", "job")
    assert (done.returncode, done.stderr) == (
        2,
        "--cfg and --info show one run: leave -m out, and give one value to each key.\n",
    )


def test_a_swept_option_without_the_key_is_named_before_any_job(toy: Path) -> None:
    done = run(toy, "train", *OWN, "-m", "algo=maml,protonet", "algo.inner_lr=0.1")
    assert done.returncode == 2
    assert "algo.inner_lr" in done.stderr and "Traceback" not in done.stderr and not calls(toy)
