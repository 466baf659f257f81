"""Small runs that the tests share: their configs, their finished folders, and what two of them must have in common."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metamtl.build import Parts
from metamtl.config.compose import compose, merge
from metamtl.families import Families
from metamtl.runs import metrics
from metamtl.trainer.run import train_run
from tests.data.image_files import png, unpacked
from tests.trainer.processes import command, ended, training

STEPS, VALIDATE, SAVE = 24, 6, 4
_ALL = (
    "trainer.device=cpu",
    f"trainer.steps={STEPS}",
    f"trainer.validate_every={VALIDATE}",
    f"trainer.checkpoint_every={SAVE}",
    "trainer.log_every=5",
    "eval.val_episodes=10",
    "eval.episodes=20",
    "eval.gap_episodes=10",
    "trainer.pictures=0",
)
_IMAGES = (
    "data=folder",
    "data.size=16",
    "data.channels=grey",
    "data.ratios=[0.5,0.25,0.25]",
    "backbone.width=4",
    "backbone.blocks=2",
    "task.ways=3",
    "task.queries=3",
)
KINDS = {
    "sinusoid": (
        "algo=maml",
        "data=sinusoid",
        "trainer.schedule.name=constant",
        "task.shots=5",
        "task.queries=5",
        "algo.inner_lr=0.01",
        "algo.inner_steps=2",
        "trainer.ema=0.9",
        "trainer.clip_norm=1.0",
    ),
    "maml": ("algo=maml", *_IMAGES, "algo.inner_steps=2", "trainer.meta_batch=2", "trainer.clip_value=0.01"),
    "protonet": ("algo=protonet", *_IMAGES, "trainer.meta_batch=2"),
    "baseline": ("algo=baseline", *_IMAGES, "trainer.batch_size=10", "algo.head_epochs=3", "trainer.ema=0.5"),
}
_CHANGEABLE = ("trainer", "eval", "algo", "task", "data", "backbone", "paths", "logger", "seed", "engine", "label")


class Runs:
    """Configs, and folders of runs that each kind leaves when nothing disturbs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = unpacked(folder / "images", _drawings())

    def config(self, kind: str, *changes: str) -> dict[str, Any]:
        own = [f"paths.cache={self.folder / 'cache'}"]
        own += [f"data.root={self.images}"] if "data=folder" in KINDS[kind] else []
        return merge(_composed(kind), [*own, *changes], _CHANGEABLE)

    @functools.cache  # noqa: B019 (one object for the whole session)
    def finished(self, kind: str, *changes: str) -> Path:
        """The folder of an undisturbed run, not to be changed: see `copy`."""
        place = self.folder / f"{kind}-{len(list(self.folder.iterdir()))}"
        ended(training(self.config(kind, *changes)), place)
        return only_run(place)

    def copy(self, run: Path, folder: Path) -> Path:
        return shutil.copytree(run, folder / "outputs" / run.name)


@functools.cache
def shared_runs(base: Path) -> Runs:
    """One object for all test modules of a session, whose base folder for temporary files this is."""
    return Runs(base / "shared_runs")


def only_run(folder: Path) -> Path:
    (found,) = (folder / "outputs").glob("*/meta.json")
    return found.parent


def trained_here(config: dict[str, Any], folder: Path) -> Path:
    """The folder of a run in this process."""
    train_run({**config, "paths": {**config["paths"], "outputs": str(folder / "outputs")}}, ["metamtl", "train"])
    return only_run(folder)


def files(folder: Path) -> dict[Path, bytes]:
    """All that a folder holds."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def resumed(run: Path, *changes: str) -> str:
    """What `metamtl resume` said on the terminal's error stream."""
    return ended(command("resume", str(run), *changes), run.parent.parent).err


def step_of(run: Path) -> int:
    """The step of last.pt; -1 where there is none."""
    file = run / "checkpoints" / "last.json"
    return int(json.loads(file.read_text())["step"]) if file.exists() else -1


def status(run: Path) -> str:
    found: str = json.loads((run / "meta.json").read_text())["status"]
    return found


def weights(run: Path, name: str = "last") -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True)
    return content


def outcome(run: Path) -> dict[str, Any]:
    """All that a run leaves and that an interruption must not change."""
    last, result = weights(run), json.loads((run / "result.json").read_text())
    del last["progress"]["seconds"], last["progress"]["waited"], last["progress"]["weighing"], last["metrics_position"]
    for measured in ("seconds", "tasks_per_second", "data_wait", "step_ms", "weighting_ms"):
        result["train"].pop(measured, None)
    lines = [
        {name: value for name, value in line.items() if not name.startswith("time/")}
        for line in metrics.read(run / "metrics.jsonl")
    ]
    assert status(run) == "completed"
    episodes = (run / "episodes.npy").read_bytes()
    return {"last": last, "best": weights(run, "best"), "metrics": lines, "result": result, "episodes": episodes}


def differences(one: Any, other: Any, where: str = "") -> Iterable[str]:
    """Where two outcomes are not equal, bit for bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from differences(one.get(key), other.get(key), f"{where}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{where}/{number}")
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.dtype != other.dtype or not torch.equal(one, other):
            yield where
    elif type(one) is not type(other) or one != other:
        yield f"{where}: {str(one)[:60]} != {str(other)[:60]}"


def assert_same(run: Path, unbroken: Path) -> None:
    assert list(differences(outcome(run), outcome(unbroken))) == []


def _drawings() -> dict[str, bytes]:
    """24 classes of 6 images of 16x16: a pattern for each class, under noise."""
    files = {}
    for label in range(24):
        pattern = np.random.default_rng(label).integers(0, 200, (16, 16))
        for number in range(6):
            noise = np.random.default_rng(1000 * label + number).integers(0, 56, (16, 16))
            files[f"{label:02}/{number}.png"] = png((pattern + noise).astype(np.uint8))
    return files


@functools.cache
def _composed(kind: str) -> dict[str, Any]:
    return compose([*_ALL, *KINDS[kind]])


def alone(parts: Parts) -> Families:
    """A run of one family."""
    return Families(parts.config, {parts.source.name: parts}, parts.learner, None)
