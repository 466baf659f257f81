"""A run or an evaluation as it lies on the disk: what it was told, how it stands, what it found."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metamtl.comparison import cached
from metamtl.comparison.cached import Curve
from metamtl.comparison.delta import delta_m, joint_facts
from metamtl.errors import MetamtlError
from metamtl.runs.folder import RecordFolder, RunFolder
from metamtl.runs.meta import Kind
from metamtl.runs.metric_names import DELTA_M, MetricName, parted
from metamtl.runs.result import Result, Summary

# `lost`: said to be running, by a process that is gone; `skipped`: a job of a multirun that was stopped before it
State = Literal["running", "completed", "failed", "interrupted", "pruned", "skipped", "lost", "damaged"]

_TAIL = 1 << 14  # bytes at the end of a stream: several lines


class Progress(NamedTuple):
    """The last step that a run has written of the steps it was told to make (of its last stage)."""

    step: int
    steps: int | None


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One run folder or `eval/<id>` folder.

    `config` and `meta` are empty where they cannot be read, which `reason` then says; they are shared and not to be
    changed. `result` is that of result.json, for an evaluation with the cost of its run's training.
    """

    path: Path
    kind: Kind
    config: Mapping[str, Any]
    meta: Mapping[str, Any]
    result: Result | None
    state: State
    reason: str | None

    @property
    def run(self) -> Path:
        """The run's folder: of an evaluation, that of the run it tested."""
        return self.path.parent.parent if self.kind == "evaluation" else self.path

    @property
    def name(self) -> str:
        """The folder as a person tells it from others: its name, in a multirun or an evaluation with the parent's."""
        if self.kind == "evaluation":
            return f"{self.run.name}/eval/{self.path.name}"
        numbered = re.fullmatch(r"\d+(-s\d+)?", self.path.name)  # of a multirun, and of a sweep's winners
        return f"{self.path.parent.name}/{self.path.name}" if numbered else self.path.name

    @property
    def seed(self) -> int | None:
        """The seed of the weights and of the training episodes."""
        seed: int | None = self.config.get("seed", self.meta.get("seed"))
        return seed

    @property
    def started(self) -> str:
        """When it began, in UTC as ISO 8601; empty where that is unknown."""
        return str(self.meta.get("started") or "")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The config with dotted keys: `{"algo.inner_lr": 0.4, ...}`; `transfer.name` names its strategies."""
        transfer = self.config.get("transfer") or {}
        strategies = [key for key, one in transfer.items() if isinstance(one, Mapping) and one.get("name") == key]
        return flat(self.config) | ({"transfer.name": "+".join(strategies)} if strategies else {})

    @cached_property
    def figures(self) -> dict[str, Summary]:
        """Those of `measured`, and `delta_m` where its families were compared with each alone."""
        delta = delta_m(self.result or Result())
        return self.measured if delta is None else {**self.measured, DELTA_M: delta}

    @cached_property
    def measured(self) -> dict[str, Summary]:
        """Metric -> its summary over the test episodes; of several families as `family/metric`. {} without result."""
        result = self.result or Result()
        found = dict(result.get("test", {}))
        for family, record in result.get("families", {}).items():
            found |= {f"{family}/{metric}": figure for metric, figure in record.get("test", {}).items()}
        return found

    def facts(self, metric: str) -> Mapping[str, Any]:
        """What result.json says of the episodes behind `metric` and of how they were met: `episodes_id`, `split` ...

        With several families these are facts of the metric's own family; of Delta m they are those of all.
        """
        result = self.result or Result()
        if metric == DELTA_M:
            return joint_facts(result.get("families", {}))
        own: Mapping[str, Any] = result.get("families", {}).get(self.parted(metric).family, result)
        return own

    def parted(self, metric: str) -> MetricName:
        """The parts of a metric's name by the families of this run, whose names say more than its slashes."""
        return parted(metric, (self.result or Result()).get("families", {}))

    @property
    def finished(self) -> bool:
        """Whether it is completed with figures; those of a run that trains on are of its shorter self."""
        return self.state == "completed" and bool(self.figures)

    @property
    def selected_by(self) -> list[str]:
        """The test figures of the metrics by which it selected its weights; of several families those of each."""
        result = self.result or Result()
        best = [name.partition("/")[2] for name in result.get("best", {}) if name.startswith("val/")]
        names = [*best, *(f"{name}/{one.get('metric')}" for name, one in result.get("families", {}).items())]
        return [name for name in dict.fromkeys(names) if name in self.measured]

    def validation(self, metric: str) -> float:
        """The validation figure at the step that was selected; NaN where there is none.

        Where values for the test were chosen on validation (`eval.choose`) it is theirs. A result tells the one that
        selected, of several families their common score: the stream has all of them.
        """
        result = self.result or Result()
        for choice in result.get("choices", [])[:1]:
            if f"val/{metric}" in choice:
                return float(choice[f"val/{metric}"]["mean"])
        best = result.get("best", {})
        if f"val/{metric}" in best:
            return best[f"val/{metric}"]
        if "step" not in best or (curve := self._streamed(f"val/{metric}")) is None:
            return math.nan
        at = np.flatnonzero(curve.steps == best["step"])
        return float(curve.values[at[-1]]) if at.size else math.nan

    def _streamed(self, name: str) -> Curve | None:
        try:
            return self.curves().get(name)
        except MetamtlError:
            return None

    def episodes(self, metric: str) -> NDArray[np.float64]:
        """The figures [n] of single test episodes; raises MetamtlError where none, or not those, were kept."""
        columns = cached.episodes(self.path)
        if metric not in columns:
            raise MetamtlError(f"{self.path} has kept no figures of single episodes for {metric}.")
        column, count = columns[metric], self.figures[metric]["episodes"] if metric in self.figures else None
        if count is not None and count > column.size:
            raise MetamtlError(f"{self.path} has kept the figures of {column.size} episodes of {count}.")
        return column[:count]  # columns of families with fewer episodes end in NaN

    def curves(self) -> dict[str, Curve]:
        """Metric (`train/loss`, `val/accuracy`) -> its curve over the run's training, as far as it has come."""
        return cached.curves(RunFolder(self.run).metrics_file)

    def progress(self) -> Progress | None:
        """How far the training has come; None before its first line. Reads the end of the stream alone."""
        step = _last_step(RunFolder(self.run).metrics_file)
        steps = self.settings.get("trainer.steps")
        return None if step is None else Progress(step, steps if isinstance(steps, int) else None)

    @property
    def folder(self) -> RecordFolder:
        """Where its files lie."""
        return RecordFolder(self.path)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys; empty ones leave none, lists stay values."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _last_step(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return None
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
    return None
