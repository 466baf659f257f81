"""Data packed once into a memory-mapped array with an index, found again by recipe and content.

A pack is a folder `cache/name/<key>` with `x.bin`, the examples class after class, and `index.json`, which
records the size that `x.bin` must have. It is written beside its place under a lock, synced, and renamed, so
that a folder with an index of the right size is whole; anything else is rebuilt.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.data.identity import digest
from metamtl.data.source import IntArray
from metamtl.errors import MetamtlError

FORMAT = 2  # raise when the layout of a pack changes


@dataclass(frozen=True)
class ClassExamples:
    """The examples of one class, x [n, ...]; `group` is its alphabet or superclass, or empty."""

    name: str
    group: str
    x: NDArray[Any]


@dataclass(frozen=True)
class Packed:
    """An opened pack: x [examples, ...], memory-mapped and read-only, examples sorted by class.

    Class c has the examples offsets[c] to offsets[c + 1] - 1, the name classes[c] and the group groups[c].
    `digests` are the SHA-256 of each class's bytes. `fingerprint` identifies what is packed and not where it came from:
    one folder, its zip and a zip made anew have one.
    """

    folder: Path
    x: NDArray[Any]
    offsets: IntArray  # [classes + 1]
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    digests: tuple[str, ...]
    fingerprint: str
    facts: dict[str, Any]

    def sizes(self) -> dict[str, int]:
        """How many examples each class has."""
        return dict(zip(self.classes, np.diff(self.offsets).tolist(), strict=True))


def pack(
    cache: Path,
    name: str,
    recipe: Mapping[str, Any],
    content: str,
    read: Callable[[], Iterable[ClassExamples]],
    counted: Mapping[str, int] = MappingProxyType({}),
) -> Packed:
    """The pack of this recipe (what JSON can say) and content (a digest of the input), made when missing.

    `read` yields every class once, all with examples of one shape and type, in an order that is the same each
    time; what it puts into `counted` meanwhile is kept in the pack's facts. Two processes that pack at once make
    one pack: the second waits and opens it. Raises MetamtlError where the cache cannot be written or `read`
    yields nothing.
    """
    key = digest("pack", FORMAT, name, recipe, content)
    folder = cache / name / key[:16]
    if (found := _open(folder, key)) is not None:  # without the lock: a cache may be read-only
        return found
    with _writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = (folder.parent / f"{folder.name}.lock").open("w")
    with lock:
        with _writing(folder):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if (found := _open(folder, key)) is None:
            _build(folder, key, {"name": name, "recipe": dict(recipe), "content": content}, read, counted)
            found = _open(folder, key)
    if found is None:
        raise MetamtlError(f"The pack just written to {folder} cannot be read back; check that disk.")
    return found


def _open(folder: Path, key: str) -> Packed | None:
    """The pack in `folder`, or None when it is absent, torn or of another key."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        shape, dtype = tuple(index["shape"]), np.dtype(index["dtype"])
        offsets = np.asarray(index["offsets"], dtype=np.int64)
        packed = Packed(
            folder=folder,
            x=np.memmap(folder / "x.bin", dtype=dtype, mode="r", shape=shape),
            offsets=offsets,
            classes=tuple(index["classes"]),
            groups=tuple(index["groups"]),
            digests=tuple(index["digests"]),
            fingerprint=index["fingerprint"],
            facts=index["facts"],
        )
        whole = (
            index["key"] == key
            and (folder / "x.bin").stat().st_size == dtype.itemsize * int(np.prod(shape))
            and len(packed.classes) == len(packed.groups) == len(packed.digests) == len(offsets) - 1
            and offsets[-1] == shape[0]
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    return packed if whole else None


def _build(
    folder: Path,
    key: str,
    facts: dict[str, Any],
    read: Callable[[], Iterable[ClassExamples]],
    counted: Mapping[str, int],
) -> None:
    """Write the pack beside its place and rename it there; the caller holds the lock."""
    partial = folder.with_name(f"{folder.name}.partial")
    with _writing(folder):
        for leftover in (
            partial,
            folder,
        ):  # of a killed process, or torn: the lock says that nobody writes them
            if leftover.exists():
                shutil.rmtree(leftover)
        partial.mkdir()
    try:
        index = {"key": key, **_write_examples(partial / "x.bin", read)}
        index["facts"] = {**facts, **counted, "classes": len(index["classes"]), "examples": index["shape"][0]}
        with _writing(folder):
            with (partial / "index.json").open("wb", buffering=0) as file:
                _write(file, json.dumps(index, ensure_ascii=False).encode())
                os.fsync(file)
            partial.rename(folder)
            _sync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_examples(path: Path, read: Callable[[], Iterable[ClassExamples]]) -> dict[str, Any]:
    """Write every class's examples to `path`; the index without its key and facts."""
    names: dict[str, str] = {}
    offsets, digests = [0], []
    first: NDArray[Any] | None = None
    with path.open("wb", buffering=0) as file:  # unbuffered: closing after a full disk must not raise once more
        for one in read():
            first = one.x if first is None else first
            _check_class(one, names, first)
            data = np.ascontiguousarray(one.x).tobytes()
            digests.append(hashlib.sha256(data).hexdigest())
            with _writing(path.parent):
                _write(file, data)
            names[one.name] = one.group
            offsets.append(offsets[-1] + len(one.x))
        with _writing(path.parent):
            os.fsync(file)
    if first is None:
        raise MetamtlError("The data holds no classes, so there is nothing to pack.")
    header: dict[str, Any] = {"offsets": offsets, "classes": list(names), "groups": list(names.values())}
    header |= {"shape": [offsets[-1], *first.shape[1:]], "dtype": first.dtype.str, "digests": digests}
    return {"fingerprint": digest(header), **header}  # the same pixels under other names are other data


def _check_class(one: ClassExamples, names: Mapping[str, str], first: NDArray[Any]) -> None:
    if one.name in names:
        raise MetamtlError(f"The data holds the class '{one.name}' twice.")
    if not len(one.x):
        raise MetamtlError(f"The class '{one.name}' has no examples.")
    if one.x.shape[1:] != first.shape[1:] or one.x.dtype != first.dtype:
        raise MetamtlError(
            f"The class '{one.name}' has examples of {one.x.shape[1:]} {one.x.dtype}, "
            f"those before it {first.shape[1:]} {first.dtype}."
        )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Failures of the cache's disk in one sentence; those of `read` are about the user's own files."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise MetamtlError(f"Cannot pack data into {folder}: {reason}. Make room or set paths.cache.") from error


def _write(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # an unbuffered file may take a part
        rest = rest[file.write(rest) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
