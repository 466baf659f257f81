"""Sweeps of tiny runs: what is typed, the command as a process of its own, and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 240.0  # seconds that anything may take on a busy machine
TINY = (
    "algo=maml",
    "data=sinusoid",
    "engine=loop",
    "backbone.hidden=[4]",
    "algo.inner_steps=1",
    "trainer.steps=3",
    "trainer.validate_every=1",
    "trainer.checkpoint_every=1",
    "trainer.meta_batch=1",
    "trainer.device=cpu",
    "eval.val_episodes=2",
    "eval.episodes=4",
    "eval.gap_episodes=0",
    "trainer.pictures=0",
    "space.algo.inner_lr=log(1e-4,1e-2)",
)


def begin(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`metamtl sweep ARGUMENTS` in `folder`, at the head of a process group of its own."""
    command = [sys.executable, "-m", "metamtl", "sweep", *arguments]
    environment = {**os.environ, "SWEEP_OF_TEST": str(folder)}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    """What the command printed, once it has ended with this exit code."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    return out + err


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def only_sweep(folder: Path) -> Path:
    (found,) = (folder / "outputs").iterdir()
    return found


def report(sweep: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((sweep / "sweep.json").read_text())
    return content


def states(sweep: Path) -> list[str]:
    return [trial["state"] for trial in report(sweep)["trials"]]


def metas(sweep: Path) -> dict[str, str]:
    """The status of every run that has begun."""
    return {path.parent.name: json.loads(path.read_text())["status"] for path in sweep.glob("*/meta.json")}


def workers(folder: Path) -> list[int]:
    """Living processes of sweeps that were begun in `folder`, by way of /proc."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            alive = process.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z"
            if alive and f"SWEEP_OF_TEST={folder}\0".encode() in process.joinpath("environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the command alone."""
    process.send_signal(signal.SIGKILL)
    process.communicate()
