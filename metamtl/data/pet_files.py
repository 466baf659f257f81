"""The files of the Oxford-IIIT Pet set: photographs, trimaps, and boxes around heads where there are any."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metamtl.data.archive import Archive, opened
from metamtl.data.images import decode
from metamtl.data.places import first_existing, folders
from metamtl.data.source import DataPaths
from metamtl.errors import MetamtlError

URL = "https://www.robots.ox.ac.uk/~vgg/data/pets/data/"
CORNERS = ("xmin", "ymin", "xmax", "ymax")
Box = tuple[float, ...]
_FOLDERS = ("", "oxford_pets_mini/", "annotations/")  # that the files may be in


def find(paths: DataPaths) -> Path | None:
    """The small archive, zipped or not, or the folder that has the official `images` and `annotations`."""
    places = folders(paths, "pets", None, "oxford_pets_mini", "oxford-iiit-pet", "oxford_pets", "pets")
    found = first_existing(places, ("oxford_pets_mini.zip", "labels.csv", "annotations"))
    return found.parent if found is not None and found.suffix != ".zip" else found


def missing() -> str:
    """What is said where nothing is found."""
    return (
        f"data=pets needs the Oxford-IIIT Pet photographs: get {URL}images.tar.gz (790 MB) and {URL}annotations.tar.gz "
        "and unpack both into a folder oxford-iiit-pet in the one that you name as paths.data."
    )


class PetFiles:
    """The files in an opened archive or folder, by the names of photographs."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._names = set(archive.names)

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
            raise MetamtlError(f"{self.archive.path} has no {file}. {missing()}")
        return self.archive.read(place)

    def _place(self, file: str) -> str | None:
        return next((f"{folder}{file}" for folder in _FOLDERS if f"{folder}{file}" in self._names), None)


@contextmanager
def pet_files(path: Path) -> Iterator[PetFiles]:
    """The files at `path`, opened."""
    with opened(path) as archive:
        yield PetFiles(archive)
