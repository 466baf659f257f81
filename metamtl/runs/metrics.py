"""metrics.jsonl: an append-only stream, one JSON object a line.

    {"step": 10, "split": "train", "train/loss": 0.3, "train/accuracy": 0.91}

A value that is not finite is written as the string "NaN", "Infinity" or "-Infinity", which every JSON parser
reads and which null would not tell apart; `read` returns floats.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from metamtl.runs.files import clear_disk_errors, from_json, to_json, write_all

_NON_FINITE = (b'"NaN"', b'Infinity"')
_SPLIT = re.compile(rb'"split":\s*"([^"]*)"')
_logger = logging.getLogger(__name__)


class MetricStream:
    """Appends to a run's metrics.jsonl; one process at a time, the holder of the run's lock."""

    def __init__(self, path: Path) -> None:
        """Opens or makes `path` and drops a last line that a kill tore, so that the next one stands alone."""
        self._path = path
        with clear_disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self.truncate(os.fstat(self._descriptor).st_size)

    def write(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        """Appends one line in one write; raises MetamtlError, with no trace of the line, where it cannot."""
        line = (to_json({"step": step, "split": split, **values}) + "\n").encode()
        before = os.fstat(self._descriptor).st_size
        with clear_disk_errors(self._path):
            try:
                write_all(self._descriptor, line)
            except OSError:
                os.ftruncate(self._descriptor, before)
                raise

    def position(self) -> int:
        """Bytes so far, all on the disk: a checkpoint that records this never points past the end."""
        with clear_disk_errors(self._path):
            os.fsync(self._descriptor)
            return os.fstat(self._descriptor).st_size

    def truncate(self, position: int) -> None:
        """Drops every line that ends after `position`, so that a resumed run writes it anew."""
        with clear_disk_errors(self._path):
            content = self._path.read_bytes()
            if len(content) < position:
                _logger.warning("%s has lost its end: %d of %d bytes are there.", self._path, len(content), position)
            keep = content.rfind(b"\n", 0, position) + 1
            if keep < len(content):
                os.ftruncate(self._descriptor, keep)

    def close(self) -> None:
        """Closes the file; lines are already with the operating system."""
        os.close(self._descriptor)

    def __enter__(self) -> MetricStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read(path: Path, most: int | None = None) -> list[dict[str, Any]]:
    """Every whole line of the stream, in order; [] where there is none.

    With `most`, of each split as many lines at equal distances and the last, which is enough to draw. A torn last line
    is left out; a damaged line elsewhere too, with a warning. Raises MetamtlError where the file exists and cannot be
    read.
    """
    if not path.exists():
        return []
    with clear_disk_errors(path, doing="read"):
        content = path.read_bytes()
    lines = content.split(b"\n")[:-1]  # what follows the last newline is empty, or torn by a kill
    lines = lines if most is None or len(lines) <= most else _thinned(lines, most)
    parsed = _parsed_at_once(lines) or [_parsed(line) for line in lines]
    damaged = parsed.count(None)
    if damaged:
        _logger.warning("%d damaged lines of %s are left out.", damaged, path)
    return [line for line in parsed if line is not None]


def _thinned(lines: list[bytes], most: int) -> list[bytes]:
    """Every 2^k-th line of each split, so that the lines that are kept stay so while the stream grows; in order."""
    places: dict[bytes, list[int]] = {}
    for place, line in enumerate(lines):
        split = _SPLIT.search(line)
        places.setdefault(split[1] if split else b"", []).append(place)
    kept: set[int] = set()
    for of_split in places.values():
        distance = 1 << max(0, (len(of_split) - 1) // most).bit_length()
        kept.update((*of_split[::distance], of_split[-1]))
    return [lines[place] for place in sorted(kept)]


def _parsed_at_once(lines: list[bytes]) -> list[dict[str, Any] | None] | None:
    """All lines in one call, several times as fast; None where one of them is damaged, or is not finite."""
    text = b",".join(lines)
    if any(name in text for name in _NON_FINITE):
        return None
    try:
        values = json.loads(b"[" + text + b"]")
    except ValueError:
        return None
    whole = len(values) == len(lines) and all(isinstance(value, dict) for value in values)
    return values if whole else None


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = from_json(line.decode())
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
