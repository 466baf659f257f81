"""The packed store: once, whole, memory-mapped, and in one sentence where it cannot be."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl.data.store import ClassExamples, Packed, pack
from metamtl.errors import MetamtlError

SPAWN = multiprocessing.get_context("spawn")


def examples(value: int = 0) -> Iterator[ClassExamples]:
    for c in range(3):
        x = np.arange((c + 1) * 4, dtype=np.uint8).reshape(c + 1, 1, 2, 2) + np.uint8(10 * c + value)
        yield ClassExamples(f"class{c}", f"group{c % 2}", x)


def make(cache: Path, read: Callable[[], Iterator[ClassExamples]] = examples, content: str = "c") -> Packed:
    return pack(cache, "made", {"size": 2}, content, read)


def never() -> Iterator[ClassExamples]:
    raise AssertionError("the pack was there already")


def test_a_pack_holds_what_was_read_and_is_mapped(tmp_path: Path) -> None:
    packed = make(tmp_path)
    np.testing.assert_array_equal(packed.x, np.concatenate([one.x for one in examples()]))
    assert packed.offsets.tolist() == [0, 1, 3, 6]
    assert packed.classes == ("class0", "class1", "class2")
    assert packed.groups == ("group0", "group1", "group0")
    assert isinstance(packed.x, np.memmap)
    assert not packed.x.flags.writeable
    assert packed.facts["examples"] == 6


def test_it_is_read_once_and_opened_afterwards(tmp_path: Path) -> None:
    first = make(tmp_path)
    second = make(tmp_path, never)
    assert second.fingerprint == first.fingerprint
    assert second.folder == first.folder


def test_what_reading_counts_is_kept(tmp_path: Path) -> None:
    counted: dict[str, int] = {}

    def counting() -> Iterator[ClassExamples]:
        for one in examples():
            yield one
            counted["seen"] = counted.get("seen", 0) + 1

    assert pack(tmp_path, "made", {}, "c", counting, counted).facts["seen"] == 3
    assert pack(tmp_path, "made", {}, "c", never, {}).facts["seen"] == 3


def test_the_fingerprint_is_of_what_is_packed_and_not_of_where_it_came_from(tmp_path: Path) -> None:
    same = [
        make(tmp_path / "a"),
        make(tmp_path / "a", content="other"),
        pack(tmp_path / "a", "made", {"size": 3}, "c", examples),
        make(tmp_path / "b"),
    ]
    assert len({one.folder for one in same}) == 4
    assert len({one.fingerprint for one in same}) == len({one.digests for one in same}) == 1


def test_pixels_names_groups_sizes_and_type_make_the_fingerprint(tmp_path: Path) -> None:
    def changed(**changes: Any) -> Packed:
        first, *others = examples()
        return make(tmp_path / str(len(packs)), lambda: iter([replace(first, **changes), *others]))

    packs: list[Packed] = []
    zero = np.zeros((1, 1, 2, 2), np.uint8)
    for changes in ({}, {"name": "x"}, {"group": "x"}, {"x": zero}, {"x": np.concatenate([zero, zero])}):
        packs.append(changed(**changes))
    as_signed = [replace(one, x=one.x.view(np.int8)) for one in examples()]
    packs.append(make(tmp_path / "signed", lambda: iter(as_signed)))
    assert len({one.fingerprint for one in packs}) == len(packs) == 6
    assert packs[0].digests[1:] == packs[3].digests[1:] and packs[0].digests[0] != packs[3].digests[0]


def shorten(folder: Path) -> None:
    with (folder / "x.bin").open("r+b") as file:
        file.truncate(5)


def lengthen(folder: Path) -> None:
    with (folder / "x.bin").open("ab") as file:
        file.write(b"x")


def tear_index(folder: Path) -> None:
    text = (folder / "index.json").read_text()
    (folder / "index.json").write_text(text[: len(text) // 2])


def swap_index(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**index, "key": "of another pack"}))


def miscount(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**index, "offsets": [0, 1, 3, 7]}))


@pytest.mark.parametrize("damage", [shorten, lengthen, tear_index, swap_index, miscount])
def test_a_torn_pack_is_rebuilt(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    first = make(tmp_path)
    damage(first.folder)
    again = make(tmp_path)
    assert again.fingerprint == first.fingerprint
    assert (again.folder / "x.bin").stat().st_size == 6 * 4
    np.testing.assert_array_equal(again.x, np.concatenate([one.x for one in examples()]))


def pack_slowly(cache: str, log: str) -> None:
    def read() -> Iterator[ClassExamples]:
        with Path(log).open("a") as file:
            file.write(f"{os.getpid()}\n")
        for one in examples():
            time.sleep(0.3)
            yield one

    assert make(Path(cache), read).x.shape == (6, 1, 2, 2)


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


def test_two_processes_that_pack_at_once_make_one_pack(tmp_path: Path) -> None:
    log = tmp_path / "log"
    both = [SPAWN.Process(target=pack_slowly, args=(str(tmp_path / "cache"), str(log))) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(log.read_text().splitlines()) == 1


def test_a_killed_packer_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    process = SPAWN.Process(target=pack_slowly, args=(str(tmp_path / "cache"), str(tmp_path / "log")))
    process.start()
    wait_for(tmp_path / "log")  # it is reading: the partial folder is there
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert any(one.suffix == ".partial" for one in (tmp_path / "cache" / "made").iterdir())
    packed = make(tmp_path / "cache")
    np.testing.assert_array_equal(packed.x, np.concatenate([one.x for one in examples()]))
    assert sorted(one.suffix for one in packed.folder.parent.iterdir()) == ["", ".lock"]


def test_a_reader_that_fails_leaves_no_pack_and_keeps_its_own_error(tmp_path: Path) -> None:
    def read() -> Iterator[ClassExamples]:
        yield next(examples())
        raise PermissionError(13, "Permission denied", "drawing.png")

    with pytest.raises(PermissionError, match=r"drawing\.png"):
        make(tmp_path, read)
    assert [one.suffix for one in (tmp_path / "made").iterdir()] == [".lock"]
    assert make(tmp_path).x.shape[0] == 6


def test_an_unwritable_cache_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MetamtlError, match=r"Cannot pack data into .*: Not a directory.*paths\.cache"):
        make(tmp_path / "file")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which is always full")
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, mode: str = "r", buffering: int = -1, **rest: str) -> object:
        return open("/dev/full" if path.name == "x.bin" and "w" in mode else path, mode, buffering, **rest)  # type: ignore[call-overload]  # noqa: PTH123

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(MetamtlError, match="No space left on device"):
        make(tmp_path)
    monkeypatch.undo()
    assert [one.suffix for one in (tmp_path / "made").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("x", "name", "sentence"),
    [
        (np.zeros((2, 1, 2, 2), np.uint8), "class0", "'class0' twice"),
        (np.zeros((0, 1, 2, 2), np.uint8), "empty", "'empty' has no examples"),
        (np.zeros((2, 1, 3, 2), np.uint8), "wide", r"'wide' has examples of \(1, 3, 2\) uint8"),
        (np.zeros((2, 1, 2, 2), np.float32), "real", "'real' has examples of .* float32"),
    ],
)
def test_classes_that_do_not_fit_are_named(
    tmp_path: Path, x: np.typing.NDArray[np.uint8], name: str, sentence: str
) -> None:
    with pytest.raises(MetamtlError, match=sentence):
        make(tmp_path, lambda: iter([*examples(), ClassExamples(name, "", x)]))


def test_no_classes_at_all(tmp_path: Path) -> None:
    with pytest.raises(MetamtlError, match="no classes"):
        make(tmp_path, lambda: iter(()))
