"""Files that are either the old one or the new one, whole, whatever happens while they are written.

A file is written beside its place, flushed to the disk and renamed over the old one, so that a kill, a power
cut or a full disk leaves the old file. Each path has one writer at a time, the process that holds the run's lock, but
for those that are `shared`: files of a sweep, which several commands carry out together.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from metamtl.errors import MetamtlError

# The names that JSON lacks for float values; protocol buffers write them in the same way.
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # a full disk, a full quota, the size limit of a file
_DEPTH_OF_A_RUN = 4  # eval/<id>/plots/<file> is the deepest file of a run folder


def write_atomic(path: Path, payload: bytes, shared: bool = False) -> None:
    """Replaces `path` by `payload` in one step; raises MetamtlError, the old file intact, if it cannot.

    `shared`: others may write it at the same time, and the last one to finish wins.
    """
    own = f".{uuid.uuid4().hex}" if shared else ""  # else what a kill left is written over
    temporary = path.with_name(f"{path.name}{own}.part")
    with clear_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_synced(temporary, payload)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)


def write_synced(path: Path, payload: bytes) -> None:
    """Writes `payload` over `path` and returns once it is on the disk; raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        write_all(descriptor, payload)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, payload: bytes) -> None:
    """Writes every byte: one call may take fewer than it is given when the disk fills up."""
    rest = memoryview(payload)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_folder(folder: Path) -> None:
    """Makes renames in `folder` survive a power cut; some file systems cannot, which is no reason to fail."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any, shared: bool = False) -> None:
    """Replaces `path` in one step by `value` as indented JSON, see `to_json` and `write_atomic`."""
    write_atomic(path, (to_json(value, indent=2) + "\n").encode(), shared)


def read_json(path: Path) -> Any:
    """The value that `write_json` wrote; raises MetamtlError where the file is absent or is no JSON."""
    with clear_disk_errors(path, doing="read"):
        content = path.read_bytes()
    try:
        return from_json(content.decode())
    except ValueError as error:
        raise MetamtlError(f"{path} is damaged: it is not JSON ({error}).") from error


def to_json(value: Any, indent: int | None = None) -> str:
    """Valid JSON for every float: what is not finite becomes the string "NaN", "Infinity" or "-Infinity"."""
    return json.dumps(to_plain(value), indent=indent, allow_nan=False, ensure_ascii=False)


def from_json(text: str) -> Any:
    """The value of `text`, "NaN", "Infinity" and "-Infinity" turned into floats; raises ValueError."""
    try:
        return _with_non_finite(json.loads(text))
    except RecursionError as error:  # no writer of ours nests so deep
        raise ValueError("it is nested too deep") from error


def to_plain(value: Any) -> Any:
    """Mappings, sequences, numpy values and paths as dicts, lists, numbers and strings, for JSON."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return to_plain(value.tolist())
    if isinstance(value, str | bool | int | None):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _name_of(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Sequence | set | frozenset):
        return [to_plain(item) for item in value]
    raise TypeError(f"{value!r} of type {type(value).__name__} has no form in JSON")


def sha256_of(source: bytes | Path) -> str:
    """The sha256 of bytes, or of a file read piece by piece, in hexadecimal."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@contextmanager
def clear_disk_errors(path: Path, doing: str = "write") -> Iterator[None]:
    """Turns an OSError met while `doing` something to `path` into a MetamtlError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL_DISK:
            raise MetamtlError(f"No space left on the disk of {path}: {_how_to_go_on(path)}.") from error
        raise MetamtlError(f"Cannot {doing} {path}: {error.strerror or error}.") from error


def _how_to_go_on(path: Path) -> str:
    runs = [folder for folder in path.parents[:_DEPTH_OF_A_RUN] if (folder / "meta.json").exists()]
    # The outermost: an evaluation lies inside its run and has a meta.json of its own.
    return f"free some and run `metamtl resume {runs[-1]}`" if runs else "free some and run the command again"


def _name_of(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _with_non_finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_non_finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_non_finite(item) for item in value]
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value
