"""Whatever classes are packed, they are read back; whatever is cut off a pack, it is made again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from metamtl.data.store import ClassExamples, Packed, pack

FEW = settings(max_examples=30, derandomize=True, deadline=None)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)


@st.composite
def some_classes(draw: st.DrawFn) -> list[ClassExamples]:
    dtype = np.dtype(draw(st.sampled_from(["u1", "<i8", "<f4", ">f8"])))
    shape = draw(st.lists(st.integers(1, 3), max_size=3))
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    sizes = draw(st.lists(st.integers(1, 3), min_size=len(names), max_size=len(names)))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    return [
        ClassExamples(name, draw(NAMES), random.integers(0, 200, (size, *shape)).astype(dtype))
        for name, size in zip(names, sizes, strict=True)
    ]


def _pack(cache: str, classes: list[ClassExamples], reads: list[int]) -> Packed:
    def read() -> Iterator[ClassExamples]:
        reads.append(1)
        yield from classes

    return pack(Path(cache), "made", {}, "content", read)


def _check(packed: Packed, classes: list[ClassExamples]) -> None:
    assert packed.classes == tuple(one.name for one in classes)
    assert packed.groups == tuple(one.group for one in classes)
    for number, one in enumerate(classes):
        found: NDArray[Any] = packed.x[packed.offsets[number] : packed.offsets[number + 1]]
        assert found.dtype == one.x.dtype
        np.testing.assert_array_equal(found, one.x)


@FEW
@given(classes=some_classes(), file=st.sampled_from(["x.bin", "index.json"]), data=st.data())
def test_a_pack_reads_back_and_one_cut_anywhere_is_made_again(
    classes: list[ClassExamples], file: str, data: st.DataObject
) -> None:
    reads: list[int] = []
    with tempfile.TemporaryDirectory() as cache:
        first = _pack(cache, classes, reads)
        _check(first, classes)
        _check(_pack(cache, classes, reads), classes)
        assert len(reads) == 1
        damaged = first.folder / file
        content = damaged.read_bytes()
        damaged.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        again = _pack(cache, classes, reads)
        _check(again, classes)
        assert (len(reads), again.fingerprint) == (2, first.fingerprint)


@FEW
@given(classes=some_classes(), junk=st.binary(max_size=60) | st.sampled_from([b"[]", b"null", b'{"shape": [1e999]}']))
def test_anything_in_place_of_the_index_makes_the_pack_again(classes: list[ClassExamples], junk: bytes) -> None:
    reads: list[int] = []
    with tempfile.TemporaryDirectory() as cache:
        first = _pack(cache, classes, reads)
        (first.folder / "index.json").write_bytes(junk)
        _check(_pack(cache, classes, reads), classes)
        assert len(reads) == 2
