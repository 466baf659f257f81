"""What identifies an input, and that a remembered sum is never that of other files."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from metamtl.data import content as module
from metamtl.data.content import content
from tests.data.image_files import unpacked, zipped

FILES = {"a/1.txt": b"one", "b/2.txt": b"two", "b/3.txt": b"three"}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths that were really read; files count as settled at once."""
    found: list[Path] = []
    summed = module._summed

    def noted(path: Path) -> str:
        found.append(path)
        return summed(path)

    monkeypatch.setattr(module, "_summed", noted)
    monkeypatch.setattr(module, "SETTLED", -(10**9))
    return found


def test_it_depends_on_names_and_bytes(tmp_path: Path) -> None:
    seen = {
        content(unpacked(tmp_path / str(i), files), tmp_path / "cache")
        for i, files in enumerate([FILES, {**FILES, "b/2.txt": b"x"}, {"a/1.txt": b"one"}, {"a/one": b"1.txt"}])
    }
    assert len(seen) == 4
    assert content(unpacked(tmp_path / "again", FILES), tmp_path / "cache") in seen
    first, second = zipped(tmp_path / "1.zip", FILES), zipped(tmp_path / "2.zip", {"a": b"x"})
    assert content(first, tmp_path / "cache") != content(second, tmp_path / "cache")


def rewrite(root: Path) -> None:
    """Other bytes, with size and time of modification as they were."""
    file = root / "b" / "2.txt"
    before = file.stat()
    time.sleep(0.02)  # more than a tick
    file.write_bytes(b"owt")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap(root: Path) -> None:
    """Another file in its place, with size and time of modification as they were."""
    file, other = root / "b" / "2.txt", root.parent / "other"
    other.write_bytes(b"owt")
    shutil.copystat(file, other)
    other.replace(file)


def rename(root: Path) -> None:
    (root / "a" / "1.txt").rename(root / "a" / "2.txt")


def add(root: Path) -> None:
    (root / "c.txt").write_bytes(b"")


def remove(root: Path) -> None:
    (root / "b" / "3.txt").unlink()


@pytest.mark.parametrize("change", [rewrite, swap, rename, add, remove])
def test_a_known_folder_is_read_again_only_when_changed(
    tmp_path: Path, read: list[Path], change: Callable[[Path], None]
) -> None:
    root, cache = unpacked(tmp_path / "mine", FILES), tmp_path / "cache"
    first = content(root, cache)
    assert content(root, cache) == first and read == [root]
    change(root)
    assert content(root, cache) != first and read == [root, root]
    assert content(root, tmp_path / "new cache") == content(root, cache)


def test_a_known_archive_is_read_again_only_when_changed(tmp_path: Path, read: list[Path]) -> None:
    path, cache = zipped(tmp_path / "1.zip", FILES), tmp_path / "cache"
    first = content(path, cache)
    assert content(path, cache) == first and read == [path]
    time.sleep(0.02)
    zipped(path, dict(reversed(FILES.items())))
    assert content(path, cache) != first


def test_what_changed_a_moment_ago_is_not_remembered(
    tmp_path: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLED", 2 * 10**9)
    root = unpacked(tmp_path / "mine", FILES)
    for _ in range(2):
        content(root, tmp_path / "cache")
    assert len(read) == 2 and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("spoilt", ["", "[]", "{}", '{"stamp": 1}'])
def test_a_spoilt_or_unwritable_memory_is_no_harm(tmp_path: Path, read: list[Path], spoilt: str) -> None:
    root, cache = unpacked(tmp_path / "mine", FILES), tmp_path / "cache"
    first = content(root, cache)
    [known] = (cache / "content").iterdir()
    known.write_text(spoilt)
    assert content(root, cache) == first and len(read) == 2
    (tmp_path / "file").write_text("in the way")
    assert content(root, tmp_path / "file") == first
