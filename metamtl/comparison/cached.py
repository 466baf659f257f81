"""Files of run folders, read once for every state of theirs: a view that is renewed reads only what has changed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from metamtl.errors import MetamtlError
from metamtl.runs.config_file import read_config
from metamtl.runs.files import read_json
from metamtl.runs.folder import RecordFolder
from metamtl.runs.metrics import read
from metamtl.runs.result import read_episodes

_MOST_SMALL_FILES = 8192
_MOST_STREAMS = 512  # of 10,000 lines each they take half a gigabyte
Figures = NDArray[np.float64]
Points = tuple[Figures, Figures]  # steps and values


class Stamp(NamedTuple):
    """What changes when a file does."""

    modified: int
    size: int


class Curve(NamedTuple):
    """One metric of a stream: `steps`, `values` and `seconds` of training [n], seconds NaN where none are known."""

    steps: Figures
    values: Figures
    seconds: Figures


def stamp(path: Path) -> Stamp | None:
    """The state of the file at `path`; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_mtime_ns, found.st_size)


def config(path: Path) -> dict[str, Any]:
    """The config at `path`, shared by all who ask: not to be changed; raises MetamtlError."""
    return _config(path, stamp(path))


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object at `path`, shared by all who ask: not to be changed; raises MetamtlError."""
    return _json_object(path, stamp(path))


def episodes(folder: Path) -> dict[str, Figures]:
    """Metric -> the figures [n] of each test episode of the run or evaluation in `folder`; raises MetamtlError."""
    record = RecordFolder(folder)
    return _episodes(folder, stamp(record.episodes_file), stamp(record.result_file))


def curves(path: Path, most: int | None = None) -> dict[str, Curve]:
    """Metric (`train/loss`, `val/accuracy`) -> its curve, of the stream at `path`; {} where there is none.

    With `most`, a longer stream is thinned to about as many points a split.
    """
    return _curves(path, most, stamp(path))


@lru_cache(_MOST_SMALL_FILES)
def _config(path: Path, _: Stamp | None) -> dict[str, Any]:
    return read_config(path)


@lru_cache(_MOST_SMALL_FILES)
def _json_object(path: Path, _: Stamp | None) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise MetamtlError(f"{path} is damaged: it holds no JSON object.")
    return cast(dict[str, Any], content)


@lru_cache(_MOST_SMALL_FILES)
def _episodes(folder: Path, *_: Stamp | None) -> dict[str, Figures]:
    try:
        return read_episodes(RecordFolder(folder))
    except (TypeError, IndexError, ValueError) as error:
        raise MetamtlError(f"{folder / 'episodes.npy'} has other columns than result.json says.") from error


@lru_cache(_MOST_STREAMS)
def _curves(path: Path, most: int | None, _: Stamp | None) -> dict[str, Curve]:
    parts: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for line in read(path, most):
        if isinstance(line.get("step"), int | float):
            parts.setdefault(tuple(line), []).append(line)
    columns: dict[str, list[Points]] = {}
    for names, lines in parts.items():  # lines of equal names, so that a column is one pass over them
        steps = np.array([line["step"] for line in lines], dtype=np.float64)
        for name in names:
            if name not in ("step", "split") and (values := _numbers([line[name] for line in lines])) is not None:
                columns.setdefault(name, []).append((steps, values))
    points = {name: _in_order(found) for name, found in columns.items()}
    clock = points.get("time/seconds")
    return {name: Curve(steps, values, _seconds(steps, clock)) for name, (steps, values) in points.items()}


def _numbers(values: list[Any]) -> Figures | None:
    """The values of a column; None where they are not all numbers."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None


def _in_order(parts: list[Points]) -> Points:
    """The points of several sets of lines, by step; lines of one step stay in their order."""
    steps, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.argsort(steps, kind="stable")
    return steps[order], values[order]


def _seconds(steps: Figures, clock: Points | None) -> Figures:
    """Only lines of training carry the time, so that of a validation lies between two of theirs."""
    return np.full(steps.size, np.nan) if clock is None else np.interp(steps, *clock)
