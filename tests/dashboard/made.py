"""Runs of every kind in one outputs folder, hostile and damaged ones among them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from metamtl.runs.files import write_json
from metamtl.runs.folder import RunFolder
from metamtl.runs.metrics import MetricStream
from metamtl.runs.result import summary
from tests.comparison.made import finished, noisy, started

HOSTILE = "<img src=x onerror=alert(1)>%{x}&'\""
FAMILIES = ("road", "light")
_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


def every_kind(outputs: Path) -> None:
    """Two methods of two seeds with curves, and a run of each other state."""
    for seed in range(2):
        with_curves(finished(outputs, "maml", seed, accuracy=noisy(0.9, seed), changes={"algo.inner_lr": 0.1}))
        with_curves(finished(outputs, "anil", seed, accuracy=noisy(0.7, seed), changes={"algo.inner_lr": 0.01}))
    started(outputs, "protonet").finish("failed", "Out of memory.")
    started(outputs, "r2d2").finish("interrupted", "Stopped by SIGTERM.")
    damaged = started(outputs, "boil")
    damaged.config_file.write_text("a: [")
    lost = started(outputs, "reptile")
    write_json(lost.path / ".lock", {"pid": 2**22 + 1, "host": socket.gethostname()})  # above every process's number
    with_families(outputs)


def with_curves(run: RunFolder) -> RunFolder:
    """Gives a run a longer stream, a log, a checkpoint and a picture."""
    with MetricStream(run.metrics_file) as stream:
        for step in range(110, 160, 10):
            stream.write(step, "train", {"train/loss": 1 / step, "train/accuracy": 0.5, "time/seconds": step / 10})
            stream.write(step, "val", {"val/accuracy": 0.5 + step / 1000, "val/accuracy_ci95": 0.1})
    run.log_file.write_text("10:00 first line\n\x1b[31m10:01 second <b>line</b>\x1b[0m\n")
    run.checkpoints.mkdir()
    (run.checkpoints / "best.pt").write_bytes(b"weights")
    write_json(run.checkpoints / "best.json", {"step": 100, "sha256": "0123456789abcdef"})
    run.plots.mkdir()
    (run.plots / "confusion.png").write_bytes(_PIXEL)
    (run.plots / "text.png").write_text("no picture")
    return run


def with_families(outputs: Path) -> RunFolder:
    """A run of two families that says how they are related."""
    pairs = {f"{a}>{b}": 0.1 if a == b else -0.02 for a in FAMILIES for b in FAMILIES}
    records = {
        name: {"test": {"accuracy": summary(noisy(0.6, 1))}, "episodes_id": name, "data": {"name": name}}
        for name in FAMILIES
    }
    facts = {"test": {}, "families": records, "relatedness": {"affinity": pairs}, "best": {"step": 1}}
    return finished(outputs, "joint", facts=facts, changes={"weighting.name": "gradnorm"})


def training(outputs: Path, steps: int = 40) -> RunFolder:
    """A run that trains still, of 100 steps."""
    run = started(outputs, "matching")
    with MetricStream(run.metrics_file) as stream:
        for step in range(10, steps + 1, 10):
            stream.write(step, "train", {"train/loss": 1 / step, "affinity/a>b": 0.5})
    return run


def hostile(outputs: Path) -> Path:
    """A run in a folder whose name is markup; returns its path."""
    run = with_curves(finished(outputs, "cavia", accuracy=noisy(0.5, 3), changes={"algo.note": HOSTILE}))
    named = run.path.with_name(HOSTILE.replace("/", ""))
    os.rename(run.path, named)  # noqa: PTH104 (a Path's rename is the same)
    return named
