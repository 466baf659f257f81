"""Paths -> records: runs, multirun and outputs folders, `eval/<id>` folders, and patterns such as `outputs/*maml*`."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from metamtl.comparison import cached
from metamtl.comparison.record import RunRecord, State
from metamtl.comparison.soundness import problem_of
from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.folder import RecordFolder
from metamtl.runs.lock import deserted
from metamtl.runs.meta import Kind
from metamtl.runs.result import Result

_MARKS = frozenset({"meta.json", "config.yaml", "result.json"})  # any of them makes a folder a record
_DEEPEST = 4  # outputs of several projects / outputs / multirun / number
_JOBS = "jobs.jsonl"  # of a multirun: how each job ended, those that never had a run too


def collect(paths: Iterable[str | os.PathLike[str]]) -> list[RunRecord]:
    """The records under `paths`, oldest first, each once.

    A folder that is no record is searched through; the evaluations inside a run are taken where they are named
    (`RUN/eval`, `RUN/eval/ID`). What is damaged is a record that says so. Raises UsageError for paths that are not
    there.
    """
    found: dict[Path, RunRecord] = {}
    for folder in _expanded(paths):
        for record in _records_under(folder, _DEEPEST):
            found.setdefault(record.path.resolve(), record)
    return sorted(found.values(), key=lambda record: (record.started, str(record.path)))


def _expanded(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    folders, problems = [], []
    for given in paths:
        path = Path(given).expanduser()
        matches = [path] if path.exists() else _matches(path)
        folders += [match for match in matches if match.is_dir()]
        if not matches:
            problems.append(f"{given}: there is no such folder, and as a pattern it matches none.")
        elif not any(match.is_dir() for match in matches):
            problems.append(f"{given} is a file: give a run's folder, or one that holds runs.")
    if problems:
        raise UsageError(*problems)
    return folders


def _matches(pattern: Path) -> list[Path]:
    """What an absolute or relative pattern matches: where no shell has done it, as in quotes or from Python."""
    return [Path(match) for match in sorted(glob.glob(str(pattern)))]  # noqa: PTH207 (a Path's own takes no absolute one)


def _records_under(folder: Path, depth: int) -> Iterator[RunRecord]:
    """`folder` itself where it is a record, otherwise those below it; what cannot be listed holds none."""
    try:
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    names = {entry.name for entry in inside}
    if names & _MARKS:
        yield _record(folder)
    elif depth:
        if _JOBS in names:
            yield from _jobs_without_run(folder)  # these first: they know more than what is left of a folder
        for entry in inside:
            if not entry.name.startswith(".") and entry.is_dir():
                yield from _records_under(folder / entry.name, depth - 1)


def _record(path: Path) -> RunRecord:
    """The record in `path`, whatever state its files are in."""
    folder, problems = RecordFolder(path), []
    config: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    result: Result | None = None
    try:
        meta = cached.json_object(folder.meta_file)
        config = cached.config(folder.config_file)
        if folder.result_file.exists():
            result = cast(Result, cached.json_object(folder.result_file))
        if (problem := problem_of(config, result)) is not None:
            config, result = {}, None
            problems.append(problem)
    except MetamtlError as error:
        problems.append(str(error))
    kind: Kind = "evaluation" if meta.get("kind") == "evaluation" else "run"
    if result is not None and kind == "evaluation":
        result = _with_training(path.parent.parent, result)
    state, reason = ("damaged", problems[0]) if problems else _state(path, meta, result)
    return RunRecord(path, kind, config, meta, result, cast(State, state), reason)


def _with_training(run: Path, result: Result) -> Result:
    """An evaluation's result with the cost of its run's training; without it where the run has none.

    The run's validation is not taken over: it was not of these tasks, nor of this way to adapt.
    """
    try:
        trained = cast(Result, cached.json_object(RecordFolder(run).result_file))
    except MetamtlError:
        return result
    if problem_of({}, trained) is not None:
        return result
    return cast(Result, {"train": trained["train"], **result}) if "train" in trained else result


def _state(path: Path, meta: dict[str, Any], result: Result | None) -> tuple[str, str | None]:
    status = meta.get("status")
    if status == "completed" and result is None:
        return "damaged", "It is marked as completed and has no result.json."
    if status == "running" and deserted(path):
        return "lost", f"Its process is gone without a word; `metamtl resume {path}` goes on from the last checkpoint."
    if status not in ("running", "completed", "failed", "interrupted", "pruned"):
        return "damaged", f"{path / 'meta.json'} is damaged: it says no status."
    return status, meta.get("reason")


def _jobs_without_run(sweep: Path) -> Iterator[RunRecord]:
    """Jobs of a multirun that failed or were skipped before they had a run folder."""
    try:
        lines = (sweep / _JOBS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            job = json.loads(line)
            place, state, reason = sweep / Path(job["folder"]).name, str(job["status"]), str(job["reason"])
        except (ValueError, KeyError, TypeError):
            continue
        if state in ("failed", "skipped", "interrupted") and not (place / "meta.json").exists():
            yield RunRecord(place, "run", {}, {}, None, cast(State, state), reason or "The multirun was stopped.")
