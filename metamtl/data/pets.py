"""Photographs of cats and dogs with several labels each: breed, species, which pixels are the pet, where its head is.

Parkhi, Vedaldi, Zisserman & Jawahar (2012), Cats and Dogs, CVPR (CC BY-SA 4.0). Of its 37 breeds three are used, 598
photographs, in a split of our own by photograph, as no boxes are published of the test part
(`splits/oxford_pets_mini.json`). Read from oxford_pets_mini.zip, in which they have 128 pixels a side, or from the
official archives, unpacked or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.data.content import content
from metamtl.data.examples import ExampleSource
from metamtl.data.images import preprocessing
from metamtl.data.pet_files import CORNERS, find_or_fetch, pet_files
from metamtl.data.places import published
from metamtl.data.source import DataPaths, IntArray, Kind, Split
from metamtl.data.store import ClassExamples, pack
from metamtl.registry import register

SPECIES, REGIONS = ("cat", "dog"), ("pet", "background", "border")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's training images, usual for photographs


@register("data", "pets")
class Pets(ExampleSource):
    """Photographs uint8 [3, size, size] and one of their labels, `target`.

    `breed` and `species` are classes; `segmentation` is a class for each pixel, int8 [size, size]; `box` the corners of
    the head, xmin, ymin, xmax and ymax as shares of the sides, float32 [4], NaN where none is published.
    """

    def __init__(self, *, paths: DataPaths, target: str, size: int) -> None:
        files = find_or_fetch(paths)
        recipe = preprocessing(size=size, channels="rgb", invert=False, mean=MEAN, std=STD)
        listed = split_names()
        names = sorted(name for of_split in listed.values() for name in of_split)
        cache = paths.cache.expanduser()
        path = files.photographs
        packed = pack(cache, "pets", recipe, content(path, cache), lambda: _photographs(path, names, size))
        place = {name: item for item, name in enumerate(sorted(names, key=breed_of))}
        splits: dict[Split, IntArray] = {split: np.array([place[n] for n in of]) for split, of in listed.items()}
        labels, kind, called = _labels(files.labels, target, list(place), size)
        super().__init__(
            name=f"pets-{target}",
            kind=kind,
            x=np.asarray(packed.x),
            y=labels,
            splits=splits,
            output_size=len(called),
            output_names=called,
            preprocessing=recipe,
            facts={"target": target, "split": "oxford_pets_mini.json", "licence": "CC BY-SA 4.0"},
        )


def split_names() -> dict[Split, list[str]]:
    """The names of the photographs of each split."""
    listed: dict[Split, dict[str, str]] = published("oxford_pets_mini.json")
    return {
        split: [f"{breed}_{number}" for breed, numbers in of_breed.items() for number in numbers.split()]
        for split, of_breed in listed.items()
    }


def breed_of(name: str) -> str:
    """The breed is a photograph's name without its number."""
    return name.rsplit("_", 1)[0]


def species_of(name: str) -> str:
    """The set writes the breeds of cats with a capital."""
    return "cat" if name[0].isupper() else "dog"


def _photographs(path: Path, names: list[str], size: int) -> Iterator[ClassExamples]:
    """Breed after breed, in order of the names."""
    with pet_files(path) as files:
        for breed in sorted({breed_of(name) for name in names}):
            images = [files.photograph(name, size) for name in names if breed_of(name) == breed]
            yield ClassExamples(breed, species_of(breed), np.stack(images))


def _labels(path: Path, target: str, names: list[str], size: int) -> tuple[NDArray[Any], Kind, tuple[str, ...]]:
    """The labels of photographs, their kind, and what the numbers of an output stand for."""
    if target == "breed":
        breeds = sorted({breed_of(name) for name in names})
        return np.array([breeds.index(breed_of(name)) for name in names]), "classification", tuple(breeds)
    if target == "species":
        return np.array([SPECIES.index(species_of(name)) for name in names]), "classification", SPECIES
    with pet_files(path) as files:
        if target == "segmentation":
            return np.stack([files.regions(name, size) for name in names]), "segmentation", REGIONS
        found = files.boxes(names)
    return np.array([found.get(name, (np.nan,) * 4) for name in names], dtype=np.float32), "boxes", CORNERS
