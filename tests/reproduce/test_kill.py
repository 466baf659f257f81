"""A real table in real processes: stopped and killed in the middle, it goes on where it was."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metamtl.reproduce.rows import run_of

TABLE = """
title: Waves
minutes: 60
rows:
  - experiment: sinusoid/maml_10s
"""


def start(folder: Path) -> subprocess.Popen[str]:
    small = ["trainer.steps=400", "trainer.checkpoint_every=5", "eval.episodes=20", "eval.val_episodes=10"]
    small += ["eval.gap_episodes=0", "trainer.device=cpu", f"paths.cache={folder / 'cache'}"]
    command = [sys.executable, "-m", "metamtl", "reproduce", "waves.yaml", "--whole", "-o", "out", *small]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not list(folder.glob("out/*/s0/*/checkpoints/last.json")) or _steps(folder) < 10:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


def _steps(folder: Path) -> int:
    (metrics,) = folder.glob("out/*/s0/*/metrics.jsonl")
    return 100 * len(metrics.read_text().splitlines())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_table_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "waves.yaml").write_text(TABLE)
    process = start(tmp_path)
    wait_for_checkpoint(tmp_path, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=240)
    if number == signal.SIGTERM:
        assert process.returncode == 128 + number, err
        assert "the same command goes on from here" in err
    run = run_of(tmp_path / "out" / "maml_10s" / "s0")
    assert run is not None
    deadline = time.monotonic() + 120
    while run.meta()["status"] == "running":  # the orphan is told, finishes its step and saves
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert run.meta()["status"] == "interrupted"
    again = start(tmp_path)
    _, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    assert run.meta()["status"] == "completed" and len(run.meta()["resumed"]) == 1
    assert len(list((tmp_path / "out" / "maml_10s" / "s0").iterdir())) == 1
    assert "| maml_10s |" in (tmp_path / "out" / "table.md").read_text()
