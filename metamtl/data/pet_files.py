"""The files of the Oxford-IIIT Pet set: photographs, lists, trimaps, and boxes around heads where there are any."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metamtl.data.archive import Archive, opened
from metamtl.data.download import fetch
from metamtl.data.images import decode
from metamtl.data.places import downloads, first_existing, folders
from metamtl.data.source import DataPaths
from metamtl.errors import MetamtlError

URL = "https://www.robots.ox.ac.uk/~vgg/data/pets/data/"
MD5 = {  # as published; no SHA-256 is
    "images.tar.gz": "5c4f3ee8e5d25df40f4fd59a7f44e54c",
    "annotations.tar.gz": "95a8c909bbe2e81eed6a22bccdf3f68f",
}
MAX_DOWNLOAD = 900 * 2**20  # bytes; the larger file has 755 MB
CORNERS = ("xmin", "ymin", "xmax", "ymax")
Box = tuple[float, ...]
_FOLDERS = ("", "oxford_pets_mini/", "annotations/")  # that the files may be in


@dataclass(frozen=True)
class Places:
    """Where the photographs are, and where their labels; the same but for the official archives."""

    photographs: Path
    labels: Path


def find(paths: DataPaths, full: bool) -> Places | None:
    """The small archive, the folder that has the official `images` and `annotations`, or the official archives.

    Where `full`, the small archive, which has three breeds, is passed over.
    """
    places = folders(paths, "pets", None, "oxford_pets_mini", "oxford-iiit-pet", "oxford_pets", "pets")
    if not full and (small := first_existing(places, ("oxford_pets_mini.zip",))) is not None:
        return Places(small, small)
    lists = ("annotations",) if full else ("labels.csv", "annotations")
    if (inside := first_existing(places, lists)) is not None:
        return Places(inside.parent, inside.parent)
    archives = [first_existing(places, (name,)) for name in MD5]
    return Places(*archives) if all(archives) else None  # type: ignore[arg-type]


def find_or_fetch(paths: DataPaths, full: bool) -> Places:
    """The files of `find`, or else the official archives, downloaded and checked against the published sums."""
    base = downloads(paths) / "oxford-iiit-pet"
    return find(paths, full) or Places(
        *(fetch(f"{URL}{n}", base / n, md5=md5, max_bytes=MAX_DOWNLOAD) for n, md5 in MD5.items())
    )


class PetFiles:
    """The files in an opened archive or folder, by the names of photographs."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._names = set(archive.names)

    def listed(self, part: Literal["trainval", "test"]) -> list[str]:
        """The names of the photographs in a published list; MetamtlError where a line is torn.

        A line has a name and the numbers of its class, species and breed.
        """
        found = []
        for number, line in enumerate(self._read(f"{part}.txt").decode("utf-8").splitlines(), 1):
            columns = line.split()
            if columns and not line.startswith("#"):
                if len(columns) != 4:
                    raise MetamtlError(f"{self.archive.path}: {part}.txt, line {number}: a name and 3 numbers belong.")
                found.append(columns[0])
        return found

    def photograph(self, name: str, size: int) -> NDArray[np.uint8]:
        """The photograph, [3, size, size]; MetamtlError where it is missing or damaged."""
        file = f"images/{name}.jpg"
        return decode(self._read(file), size=size, channels="rgb", invert=False, where=f"{self.archive.path}:{file}")

    def regions(self, name: str, size: int) -> NDArray[np.int8]:
        """0 where a pixel is of the pet, 1 of the background, 2 of the border between them, [size, size]."""
        where = f"{self.archive.path}:trimaps/{name}.png"
        try:
            with Image.open(io.BytesIO(self._read(f"trimaps/{name}.png")), formats=("PNG",)) as image:
                levels = np.asarray(image.resize((size, size), Image.Resampling.NEAREST))
        except (OSError, ValueError, SyntaxError) as error:
            raise MetamtlError(f"The image {where} cannot be read ({error}).") from error
        if levels.shape != (size, size) or not np.isin(levels, (1, 2, 3)).all():
            raise MetamtlError(f"{where} is no trimap: it holds something else than 1, 2 and 3.")
        return (levels - 1).astype(np.int8)

    def boxes(self, names: Sequence[str]) -> Mapping[str, Box]:
        """CORNERS of heads as shares of the sides, of the photographs that have one."""
        if self._place("labels.csv") is not None:
            return self._listed()
        return {name: self._published(name) for name in names if self._place(f"xmls/{name}.xml") is not None}

    def _listed(self) -> Mapping[str, Box]:
        rows = csv.DictReader(io.StringIO(self._read("labels.csv").decode("utf-8")))
        try:
            return {
                row["name"]: tuple(float(row[f"head_{corner}"]) for corner in CORNERS)
                for row in rows
                if row["head_xmin"]
            }
        except (KeyError, TypeError, ValueError) as error:
            raise MetamtlError(f"{self.archive.path}: labels.csv has no boxes ({error}); get it again.") from error

    def _published(self, name: str) -> Box:
        """Counted there in pixels of the photograph."""
        text = self._read(f"xmls/{name}.xml").decode("utf-8")
        found = {tag: re.search(rf"<{tag}>\s*([0-9.]+)\s*</{tag}>", text) for tag in (*CORNERS, "width", "height")}
        if lacking := [tag for tag, match in found.items() if match is None]:
            raise MetamtlError(f"{self.archive.path}: xmls/{name}.xml has no <{lacking[0]}>; get it again.")
        values = {tag: float(match[1]) for tag, match in found.items() if match is not None}
        return tuple(values[corner] / values["width" if corner[0] == "x" else "height"] for corner in CORNERS)

    def _read(self, file: str) -> bytes:
        place = self._place(file)
        if place is None:
            raise MetamtlError(f"{self.archive.path} has no {file}: get it again from {URL}.")
        return self.archive.read(place)

    def _place(self, file: str) -> str | None:
        return next((f"{folder}{file}" for folder in _FOLDERS if f"{folder}{file}" in self._names), None)


@contextmanager
def pet_files(path: Path) -> Iterator[PetFiles]:
    """The files at `path`, opened."""
    with opened(path) as archive:
        yield PetFiles(archive)
