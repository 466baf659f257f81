"""Made image archives, the real data where it is, and a check that nothing crosses splits."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from metamtl.data.classes import ClassSource
from metamtl.data.source import Split
from metamtl.data.store import ClassExamples


def png(pixels: NDArray[np.uint8], mode: str | None = None) -> bytes:
    """The PNG file of pixels [H, W] or [H, W, 3], converted to `mode` first."""
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    (image.convert(mode) if mode else image).save(stream, format="PNG")
    return stream.getvalue()


def noise(seed: int, side: int = 8, channels: int = 3) -> NDArray[np.uint8]:
    shape = (side, side) if channels == 1 else (side, side, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def zipped(path: Path, files: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items() if isinstance(files, Mapping) else files:
            archive.writestr(name, data)
    return path


def unpacked(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def class_folders(names: Iterable[str], images: int = 3, seed: int = 0, channels: int = 3) -> dict[str, bytes]:
    """PNG files `name/i.png`, all different."""
    return {
        f"{name}/{i}.png": png(noise(seed + 1000 * c + i, channels=channels))
        for c, name in enumerate(names)
        for i in range(images)
    }


def real(name: str) -> Path:
    """A folder of METAMTL_TEST_DATA; the test is skipped without it."""
    base = os.environ.get("METAMTL_TEST_DATA")
    if not base or not (Path(base) / name).exists():
        pytest.skip(f"METAMTL_TEST_DATA names no folder that has {name}")
    return Path(base) / name


def with_copies(
    classes: Iterable[ClassExamples], splits: Mapping[Split, Collection[str]], counted: dict[str, int]
) -> Iterable[ClassExamples]:
    """In place of `classfiles.without_copies`: nothing is left out."""
    counted["copies"] = 0
    return classes


def _looks(source: ClassSource, split: Split) -> Iterator[tuple[bytes, str]]:
    """Every image of the split in the least of its four turns, which all turns of one drawing share; its class."""
    items, names = source.items(split), source.class_names(split)
    images = source.gather(items)
    turns = [np.ascontiguousarray(np.rot90(images, turn, axes=(-2, -1))) for turn in range(4)]
    for n, label in enumerate(source.labels(items)):
        yield min(turned[n].tobytes() for turned in turns), names[label].split("@")[0]


def crossings(source: ClassSource) -> list[str]:
    """What two splits share: a class, turned or not, or an image, turned or not."""
    splits: tuple[Split, ...] = ("train", "val", "test")
    classes = {split: {name.split("@")[0] for name in source.class_names(split)} for split in splits}
    looks = {split: dict(_looks(source, split)) for split in splits}
    found = []
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        a: Split = first  # type: ignore[assignment]
        b: Split = second  # type: ignore[assignment]
        found += [f"class {name} is in {a} and {b}" for name in classes[a] & classes[b]]
        found += [
            f"{looks[a][look]} in {a} and {looks[b][look]} in {b} share an image"
            for look in looks[a].keys() & looks[b].keys()
        ]
    return found
