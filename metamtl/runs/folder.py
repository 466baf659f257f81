"""The folder of a run: how it is made, found again, and what lies where in it.

    outputs/20261122-031154-maml-omniglot-s0/
        config.yaml      resolved and complete
        meta.json        who, with what, when, how it ended (metamtl.runs.meta)
        metrics.jsonl    one JSON object a line (metamtl.runs.metrics)
        result.json      the figures (metamtl.runs.result), episodes.npy behind them
        checkpoints/     last.pt, best.pt (metamtl.runs.checkpoints)
        plots/  log.txt  eval/<id>/

config.yaml is written before meta.json, so a folder with a meta.json is a complete run folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from metamtl.errors import MetamtlError
from metamtl.runs.config_file import read_config, write_config
from metamtl.runs.files import clear_disk_errors, read_json, write_json
from metamtl.runs.identity import take_folder
from metamtl.runs.meta import Kind, Status, ended, first_meta, resumed, update_meta

F = TypeVar("F", bound="RecordFolder")


@dataclass(frozen=True)
class RecordFolder:
    """What a run and an evaluation share: a config, a meta.json and figures."""

    path: Path

    @property
    def config_file(self) -> Path:
        """config.yaml: the resolved config."""
        return self.path / "config.yaml"

    @property
    def meta_file(self) -> Path:
        """meta.json."""
        return self.path / "meta.json"

    @property
    def result_file(self) -> Path:
        """result.json: the figures; see metamtl.runs.result."""
        return self.path / "result.json"

    @property
    def episodes_file(self) -> Path:
        """episodes.npy: the figures of every test episode."""
        return self.path / "episodes.npy"

    @property
    def log_file(self) -> Path:
        """log.txt."""
        return self.path / "log.txt"

    def config(self) -> dict[str, Any]:
        """The config as plain dicts and lists; raises MetamtlError where it is missing or damaged."""
        return read_config(self.config_file)

    def meta(self) -> dict[str, Any]:
        """The content of meta.json; raises MetamtlError where it is missing or damaged."""
        meta = read_json(self.meta_file)
        if not isinstance(meta, dict) or "kind" not in meta:
            raise MetamtlError(f"{self.meta_file} is damaged: it does not say what it belongs to.")
        return meta

    def update_meta(self, **changes: Any) -> None:
        """Changes some keys of meta.json in one step, such as `device`."""
        update_meta(self.meta_file, **changes)

    def finish(self, status: Status, reason: str | None = None) -> None:
        """Records how it ended and when; `reason` is one sentence, its secrets are hidden."""
        update_meta(self.meta_file, **ended(status, reason))


@dataclass(frozen=True)
class EvaluationFolder(RecordFolder):
    """`eval/<id>/` in a run: an evaluation's own config, meta.json, result.json and episodes.npy."""


@dataclass(frozen=True)
class RunFolder(RecordFolder):
    """A run's folder; see the module."""

    @classmethod
    def create(cls, outputs: Path, config: Mapping[str, Any], command: Sequence[str], label: str) -> RunFolder:
        """Takes a new folder `outputs/<UTC time>-<label>`, as no other process can, and writes what it is."""
        return _begin(cls(take_folder(outputs, label)), "run", config, command)

    @classmethod
    def claim(cls, path: Path, config: Mapping[str, Any], command: Sequence[str]) -> RunFolder:
        """Makes `path`, absent or without a run, the folder of a multirun job; MetamtlError if taken."""
        run = cls(path)
        with clear_disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            try:  # Of two processes that claim one path, the exclusive creation lets one go on.
                os.close(os.open(run.config_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            except FileExistsError as error:
                raise MetamtlError(
                    f"{path} already holds a run: choose another folder, or run `metamtl resume {path}`."
                ) from error
        return _begin(run, "run", config, command)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run folder at `path`; raises MetamtlError that says what `path` is instead."""
        run = cls(path)
        if not run.meta_file.is_file():
            raise MetamtlError(_why_no_run(path))
        kind = run.meta()["kind"]
        if kind != "run":
            raise MetamtlError(f"{path} is an {kind} of the run {path.parent.parent}: give the run's folder.")
        if not run.config_file.is_file():
            raise MetamtlError(f"{path} has lost its config.yaml: the run cannot be built again.")
        return run

    def resume(self, command: Sequence[str]) -> None:
        """Records in meta.json that the run goes on, with the command that did it."""
        self.update_meta(**resumed(self.meta(), command))

    def new_evaluation(
        self, config: Mapping[str, Any], command: Sequence[str], label: str = "test"
    ) -> EvaluationFolder:
        """Takes a new folder `eval/<UTC time>-<label>` in this run for the figures of one evaluation."""
        folder = EvaluationFolder(take_folder(self.evaluations, label))
        return _begin(folder, "evaluation", config, command)

    @property
    def metrics_file(self) -> Path:
        """metrics.jsonl; see metamtl.runs.metrics."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of last.pt and best.pt; see metamtl.runs.checkpoints."""
        return self.path / "checkpoints"

    @property
    def plots(self) -> Path:
        """The folder of PNG figures."""
        return self.path / "plots"

    @property
    def evaluations(self) -> Path:
        """The folder of evaluations, each in its own folder."""
        return self.path / "eval"


def new_sweep(outputs: Path, label: str) -> Path:
    """Takes a new folder `outputs/<UTC time>-<label>` for a multirun, whose jobs claim <number>/ in it."""
    return take_folder(outputs, label)


def _begin(folder: F, kind: Kind, config: Mapping[str, Any], command: Sequence[str]) -> F:
    write_config(folder.config_file, config)
    write_json(folder.meta_file, first_meta(folder.path.name, kind, config, command))
    return folder


def _why_no_run(path: Path) -> str:
    if not path.exists():
        return f"There is no run folder {path}."
    if not path.is_dir():
        return f"{path} is a file, not a run folder: give the folder that holds config.yaml and meta.json."
    inside = sorted(meta.parent.name for meta in path.glob("*/meta.json"))
    if inside:
        return f"{path} holds {len(inside)} runs and is none itself: give one, such as {path / inside[0]}."
    return f"{path} is not a run folder: it has no meta.json."
