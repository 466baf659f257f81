from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from metamtl.build import build_parts
from metamtl.data.opening import open_source
from metamtl.engine.world import World, join_world
from metamtl.trainer.streams import stream_of
from tests.trainer.processes import PATIENCE, Running, command, start_together, training
from tests.trainer.runs import Runs, alone, assert_same, only_run, outcome, status, step_of, weights

EXACT = ("trainer.precision=float64", "trainer.optimizer.name=sgd", "trainer.optimizer.lr=0.1", "trainer.steps=10")
SHARES = [  # tasks of an update over two processes: equal, unequal, and none for one of them
    ("maml", "trainer.meta_batch=2"),
    ("protonet", "trainer.meta_batch=3"),
    ("protonet", "trainer.meta_batch=1"),
]


def _all_end(running: list[Running], code: int = 0) -> None:
    codes = [one.end() for one in running]
    assert codes == [code] * len(running), "\n".join(one.err for one in running)


def _far_apart(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Tensors that differ by more than 1e-9 of their largest entry."""
    assert one.keys() == other.keys() and all(value.dtype is torch.float64 for value in one.values())
    return [name for name in one if (one[name] - other[name]).abs().max() > 1e-9 * other[name].abs().max()]


@pytest.mark.parametrize(("kind", "share"), SHARES)
def test_two_processes_train_as_one(runs: Runs, tmp_path: Path, kind: str, share: str) -> None:
    changes = (*EXACT, share)
    _all_end(start_together(2, training(runs.config(kind, *changes)), tmp_path))
    run, alone = only_run(tmp_path), runs.finished(kind, *changes)
    mine, others = weights(run), weights(alone)
    assert _far_apart(mine["learner"], others["learner"]) == []
    assert mine["progress"]["tasks"] == others["progress"]["tasks"]
    found, expected = outcome(run), outcome(alone)
    assert [(line["step"], line["split"], line.keys()) for line in found["metrics"]] == [
        (line["step"], line["split"], line.keys()) for line in expected["metrics"]
    ]
    assert found["metrics"][0]["train/loss"] == pytest.approx(expected["metrics"][0]["train/loss"], rel=1e-9)
    assert found["result"]["episodes_id"] == expected["result"]["episodes_id"]


def test_the_weights_that_are_compared_have_moved(runs: Runs) -> None:
    """Guards the test above."""
    for kind, share in SHARES:
        run = runs.finished(kind, *EXACT, share)
        parts = build_parts(config := runs.config(kind, *EXACT, share), open_source(config))
        moved = _far_apart(weights(run)["learner"], parts.learner.state_dict())
        assert any(name.endswith("head.weight") or "blocks" in name for name in moved)
        assert kind != "protonet" or any(name.endswith("running_var") for name in moved)


def _meta_gradient(config: dict[str, Any], file: Path) -> int:
    """Saves the summed update 7 of all processes."""
    with join_world() as world:
        torch.save(_summed(config, world), file.with_name(f"{file.name}{world.rank}"))
    return 0


def _summed(config: dict[str, Any], world: World) -> dict[str, Any]:
    parts = build_parts(config, open_source(config))
    parts.learner.train()
    update = stream_of(alone(parts), parts.learner.stages[0], world).update(7)
    tensors = dict(update.gradient)
    for number, (mean, var) in enumerate(update.statistics):
        tensors |= {f"mean{number}": mean, f"var{number}": var}
    tensors["tasks"] = torch.tensor(float(update.tasks), dtype=torch.float64)
    return dict(zip(tensors, world.sum(list(tensors.values())), strict=True))


@pytest.mark.parametrize(("kind", "share"), SHARES)
def test_the_meta_gradient_of_two_processes_is_that_of_one(runs: Runs, tmp_path: Path, kind: str, share: str) -> None:
    config = runs.config(kind, *EXACT, share)
    _all_end(start_together(2, partial(_meta_gradient, config, tmp_path / "sum"), tmp_path))
    alone = _summed(config, World(0, 1))
    assert all(value.abs().max() > 0 for name, value in alone.items() if name.endswith("weight"))
    for rank in range(2):
        assert _far_apart(torch.load(tmp_path / f"sum{rank}", weights_only=True), alone) == []


def test_a_baseline_takes_smaller_batches_than_there_are_processes(runs: Runs, tmp_path: Path) -> None:
    config = runs.config("baseline", "trainer.batch_size=1", "trainer.steps=3", "backbone.norm=group")
    _all_end(start_together(2, training(config), tmp_path))
    assert weights(only_run(tmp_path))["progress"]["tasks"] == 3


def test_one_process_that_is_told_to_stop_stops_both_and_both_resume(runs: Runs, tmp_path: Path) -> None:
    _all_end(start_together(2, training(runs.config("protonet")), tmp_path / "unbroken"))
    running = start_together(2, training(runs.config("protonet")), tmp_path / "stopped")
    running[1].wait_for(lambda: any(step_of(run.parent) >= 8 for run in tmp_path.glob("stopped/outputs/*/meta.json")))
    running[1].send(signal.SIGUSR1)
    _all_end(running, 143)
    run = only_run(tmp_path / "stopped")
    assert status(run) == "interrupted"
    assert f"metamtl resume {run}" in running[0].err
    _all_end(start_together(2, command("resume", str(run)), tmp_path / "stopped"))
    assert_same(run, only_run(tmp_path / "unbroken"))
    # a run that is complete lets all processes go, where one that went alone would leave the other waiting
    _all_end(start_together(2, command("resume", str(run)), tmp_path / "stopped"))


def test_a_process_that_dies_takes_the_other_along_and_nothing_is_lost(runs: Runs, tmp_path: Path) -> None:
    running = start_together(2, training(runs.config("sinusoid")), tmp_path)
    running[0].wait_for(lambda: any(step_of(run.parent) >= 8 for run in tmp_path.glob("outputs/*/meta.json")))
    running[1].send(signal.SIGKILL)
    assert running[0].end() == 1
    assert running[0].err.splitlines()[-1] == "Another process of this run has stopped, so this one stops too."
    run = only_run(tmp_path)
    assert status(run) == "failed"
    assert step_of(run) >= 8
    _all_end(start_together(2, command("resume", str(run)), tmp_path))
    _all_end(start_together(2, training(runs.config("sinusoid")), tmp_path / "unbroken"))
    assert_same(run, only_run(tmp_path / "unbroken"))


def test_torchrun_starts_one_run(runs: Runs, tmp_path: Path) -> None:
    """The command as a user types it."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "metamtl"]
    run = runs.copy(runs.finished("protonet"), tmp_path)
    done = subprocess.run(
        [*words, "resume", str(run), "trainer.steps=30"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("result ") == 1
    assert only_run(tmp_path) == run and step_of(run) == 30
    assert '"processes": 2' in (run / "meta.json").read_text()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs: nccl gives each process its own")
def test_two_gpus_train_as_one(runs: Runs, tmp_path: Path) -> None:
    changes = (*EXACT, "trainer.device=cuda")
    _all_end(start_together(2, training(runs.config("maml", *changes)), tmp_path))
    alone = runs.finished("maml", *changes)
    assert _far_apart(weights(only_run(tmp_path))["learner"], weights(alone)["learner"]) == []
