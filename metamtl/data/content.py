"""What identifies the input of a pack: the SHA-256 of an archive's bytes, or of a folder's names and bytes.

A sum once made is kept in the cache and believed as long as no file has another size, time of change or inode: the
system sets the time of change (ctime) at each write, and nobody can set it back as unpacking sets that of modification.
As in git, files changed in the last moments are not believed, since a clock's tick may hide another change.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from metamtl.data.archive import members, opened
from metamtl.data.identity import digest

SETTLED = 2 * 10**9  # nanoseconds; more than the tick of any clock that stamps files
_BLOCK = 2**20


def content(path: Path, cache: Path) -> str:
    """SHA-256, hexadecimal, of the file or folder at `path`, read only where `cache` has no sum of these very files."""
    now = time.time_ns()
    stamp, changed = _stamp(path)
    place = cache / "content" / f"{digest(str(path.resolve()))[:16]}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(place.read_text(encoding="utf-8"))
        if known["stamp"] == stamp:
            return str(known["content"])
    found = _summed(path)
    if changed < now - SETTLED:
        with suppress(OSError):  # a cache may be read-only
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = place.with_suffix(f".{os.getpid()}.partial")
            partial.write_text(json.dumps({"stamp": stamp, "content": found}), encoding="utf-8")
            partial.replace(place)
    return found


def _stamp(path: Path) -> tuple[str, int]:
    """A digest of every file's name, size, times, inode and device, and the latest time at which any changed."""
    names: tuple[str, ...] = ("",)
    if path.is_dir():
        with opened(path) as folder:
            names = folder.names
    facts = [(name, os.stat(path / name)) for name in names]  # noqa: PTH116 (half the time for many files)
    listed = [(n, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev) for n, s in facts]
    return digest(path.is_dir(), listed), max((max(s.st_ctime_ns, s.st_mtime_ns) for _, s in facts), default=0)


def _summed(path: Path) -> str:
    total = hashlib.sha256()
    if path.is_dir():
        for name, data in members(path):
            total.update(f"{len(name)} {name} {len(data)} ".encode())
            total.update(data)
        return total.hexdigest()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            total.update(block)
    return total.hexdigest()
