"""Photographs of cats and dogs with several labels each: breed, species, which pixels are the pet, where its head is.

Parkhi, Vedaldi, Zisserman & Jawahar (2012), Cats and Dogs, CVPR (CC BY-SA 4.0). Of its 37 breeds three, 598 of the
photographs, read from oxford_pets_mini.zip, in which they have 128 pixels a side, or from the official archives,
unpacked or not; or all, 7,349 photographs, from the official archives. `pet_splits.py` says which ones are for what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.data.content import content
from metamtl.data.examples import ExampleSource
from metamtl.data.images import preprocessing
from metamtl.data.pet_files import CORNERS, PetFiles, find_or_fetch, pet_files
from metamtl.data.pet_splits import Division, all_breeds, breed_of, species_of, three_breeds
from metamtl.data.source import DataPaths, IntArray, Kind, Split
from metamtl.data.store import ClassExamples, pack
from metamtl.registry import register

SPECIES, REGIONS = ("cat", "dog"), ("pet", "background", "border")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's training images, usual for photographs


@register("data", "pets")
class Pets(ExampleSource):
    """Photographs uint8 [3, size, size] and one of their labels, `target`.

    `breed` and `species` are classes; `segmentation` is a class for each pixel, int8 [size, size]; `box` the corners of
    the head, xmin, ymin, xmax and ymax as shares of the sides, float32 [4], NaN where none is published. `full` takes
    all breeds in place of three.
    """

    def __init__(self, *, paths: DataPaths, target: str, size: int, full: bool = False) -> None:
        files = find_or_fetch(paths, full)
        division = _published_division(files.labels, target) if full else three_breeds()
        names = sorted(sorted(division.names), key=breed_of)  # as they are packed
        packs = _Packs(paths.cache.expanduser(), "pets_full" if full else "pets", names)
        recipe = preprocessing(size=size, channels="rgb", invert=False, mean=MEAN, std=STD)
        photographs = packs.packed(files.photographs, "", recipe, lambda of, name: of.photograph(name, size))
        place = {name: item for item, name in enumerate(names)}
        splits: dict[Split, IntArray] = {
            split: np.array([place[n] for n in of], dtype=np.int64) for split, of in division.splits.items()
        }
        labels, kind, called = _labels(files.labels, target, packs, size)
        super().__init__(
            name=f"pets-{target}",
            kind=kind,
            x=photographs,
            y=labels,
            splits=splits,
            output_size=len(called),
            output_names=called,
            preprocessing=recipe,
            facts={"target": target, "split": division.rule, "licence": "CC BY-SA 4.0"},
        )


class _Packs:
    """What the files have of photographs, called `names`, packed breed after breed."""

    def __init__(self, cache: Path, option: str, names: Sequence[str]) -> None:
        self._cache, self._option, self.names = cache, option, names

    def packed(
        self, path: Path, what: str, recipe: Mapping[str, Any], read: Callable[[PetFiles, str], NDArray[Any]]
    ) -> NDArray[Any]:
        """What `read` makes of each photograph and the files at `path`, in order of the names."""

        def breeds() -> Iterator[ClassExamples]:
            with pet_files(path) as files:
                for breed in dict.fromkeys(breed_of(name) for name in self.names):
                    found = [read(files, name) for name in self.names if breed_of(name) == breed]
                    yield ClassExamples(breed, species_of(breed), np.stack(found))

        done = pack(self._cache, f"{self._option}{what}", recipe, content(path, self._cache), breeds)
        return np.asarray(done.x)


def _published_division(path: Path, target: str) -> Division:
    with pet_files(path) as files:
        return all_breeds(files.listed("trainval"), files.listed("test"), target)


def _labels(path: Path, target: str, packs: _Packs, size: int) -> tuple[NDArray[Any], Kind, tuple[str, ...]]:
    """The labels of photographs, their kind, and what the numbers of an output stand for."""
    if target == "segmentation":
        regions = packs.packed(path, "_regions", {"size": size}, lambda of, name: of.regions(name, size))
        return regions, "segmentation", REGIONS
    if target == "breed":
        breeds = tuple(dict.fromkeys(breed_of(name) for name in packs.names))
        return np.array([breeds.index(breed_of(name)) for name in packs.names]), "classification", breeds
    if target == "species":
        return np.array([SPECIES.index(species_of(name)) for name in packs.names]), "classification", SPECIES
    with pet_files(path) as files:
        found = files.boxes(packs.names)
    boxes = [found.get(name, (np.nan,) * 4) for name in packs.names]
    return np.array(boxes, dtype=np.float32), "boxes", CORNERS
