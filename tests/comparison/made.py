"""Run folders as training and testing would leave them, made in a moment."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from metamtl.runs.folder import RunFolder
from metamtl.runs.metrics import MetricStream
from metamtl.runs.result import Result, summary, write_result

TRANSDUCTIVE = "transductive: the queries of a task are normalised together"
ALONE = "none: a query is predicted alone"
_clock = itertools.count()


def config(algo: str = "maml", seed: int = 0, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A small config with dotted changes: `config("maml", changes={"task.shots": 5})`."""
    made: dict[str, Any] = {
        "seed": seed,
        "label": None,
        "paths": {"outputs": "outputs", "data": None},
        "algo": {"name": algo},
        "data": {"name": "glyphs"},
        "task": {"ways": 5, "shots": 1, "queries": 15},
        "trainer": {"steps": 100, "device": "auto", "task": {"ways": 5, "shots": 1, "queries": 15}},
        "eval": {"split": "test", "episodes": 40, "seed": 1000},
    }
    for key, value in (changes or {}).items():
        *parents, last = key.split(".")
        node = made
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return made


def started(outputs: Path, algo: str = "maml", seed: int = 0, changes: Mapping[str, Any] | None = None) -> RunFolder:
    """A run that has begun, a second after the one before it; it is running until it is finished."""
    # git and the list of packages take longer than all the rest of a folder
    with (
        patch("metamtl.runs.meta.git_state", return_value=None),
        patch("metamtl.runs.meta.installed_versions", return_value={}),
    ):
        run = RunFolder.create(outputs, config(algo, seed, changes), ["metamtl", "train"], f"{algo}-s{seed}")
    run.update_meta(started=(datetime(2026, 1, 1) + timedelta(seconds=next(_clock))).isoformat())
    return run


def finished(
    outputs: Path,
    algo: str = "maml",
    seed: int = 0,
    accuracy: NDArray[np.float64] | None = None,
    validation: float | None = 0.5,
    facts: dict[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> RunFolder:
    """A completed run with these test figures of single episodes; `facts` change its result.json."""
    run = started(outputs, algo, seed, changes)
    with MetricStream(run.metrics_file) as stream:
        for step in (50, 100):
            stream.write(step, "train", {"train/loss": 1.0 / step, "time/seconds": step / 10})
        if validation is not None:
            stream.write(100, "val", {"val/accuracy": validation})
    values = np.linspace(0.2, 0.8, 40) if accuracy is None else accuracy
    result: dict[str, Any] = {
        "test": {"loss": summary(1 - values), "accuracy": summary(values)},
        "episodes_id": f"id-{values.size}",
        "split": "test",
        "task": {"ways": 5, "shots": 1, "queries": 15},
        "model": {"parameters": 1234, "trainable": 1234},
        "normalisation": "running averages",
        "transduction": ALONE,
        "data": {"name": "glyphs", "fingerprint": "0123456789abcdef"},
        "train": {"steps": 100, "tasks_per_second": 20.0, "seconds": 10.0 + seed},
        "best": {"step": 100, **({} if validation is None else {"val/accuracy": validation})},
        **(facts or {}),
    }
    write_result(run, Result(**result), {"loss": 1 - values, "accuracy": values})  # type: ignore[typeddict-item]
    run.update_meta(device="cpu")
    run.finish("completed")
    return run


def noisy(mean: float, seed: int, size: int = 40) -> NDArray[np.float64]:
    """Figures around `mean`: shares of 75 queries, some of them equal."""
    drawn = np.random.default_rng(seed).binomial(75, mean, size) / 75
    return drawn.astype(np.float64)


def several(
    outputs: Path,
    figures: Mapping[str, tuple[float, float]],
    seed: int = 0,
    weighting: str = "equal",
    step_ms: float = 2.0,
    references: bool = True,
    validation: Mapping[str, float] | None = None,
) -> RunFolder:
    """A completed run of several families, with family -> the mean accuracy (together, alone) of ten test examples.

    The accuracies of its `validation` are in its stream, at the step that its result names and at one after it.
    """
    changes = {"weighting.name": weighting, "families": {name: {"data": "glyphs"} for name in figures}}
    run = finished(outputs, "joint", seed, changes=changes)
    spread = np.linspace(-0.01, 0.01, 10)
    families: dict[str, Any] = {
        name: {"metric": "accuracy", "test": {"accuracy": summary(together + spread)}, "episodes_id": f"of {name}"}
        for name, (together, _) in figures.items()
    }
    whole: dict[str, Any] = {"families": families, "train": {"steps": 100, "step_ms": step_ms}}
    if references:
        whole["references"] = _references(figures)
    if validation is not None:
        whole["best"] = {"step": 110, "val/score": 0.5}
        with MetricStream(run.metrics_file) as stream:
            for step, more in ((110, 0.0), (120, 0.1)):
                stream.write(step, "val", {f"val/{name}/accuracy": one + more for name, one in validation.items()})
    columns = {f"{name}/accuracy": together + spread for name, (together, _) in figures.items()}
    write_result(run, Result(**whole), columns)  # type: ignore[typeddict-item]
    return run


def _references(figures: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """As `metamtl.trainer.references.compared` makes it, of figures whose pairs all differ by as much."""
    changes = {name: (together - alone) / alone for name, (together, alone) in figures.items() if alone}
    worse = [name for name, (together, alone) in figures.items() if together < alone]
    delta = {"mean": sum(changes.values()) / len(changes), "ci95": 0.0, "better": "higher"} if changes else None
    return {
        "families": {
            name: {"metric": "accuracy", "difference": {"mean": together - alone, "ci95": 0.0, "episodes": 10}}
            for name, (together, alone) in figures.items()
        },
        "delta_m": delta,
        "left_out": [name for name in figures if name not in changes],
        "changes": changes,
        "negative_transfer": {"rate": len(worse) / len(figures), "families": worse},
    }
