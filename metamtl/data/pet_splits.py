"""Which photographs of the Oxford-IIIT Pet set are for training, validation and testing.

Of three breeds in a split of our own (`splits/oxford_pets_mini.json`); of all 37 by the published lists. No boxes are
published of the photographs in test.txt, so that boxes are tested on a part of trainval.txt that nothing is trained on.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from metamtl.data.places import published
from metamtl.data.source import Split

MINI = "oxford_pets_mini.json"
OFFICIAL = (
    "testing: test.txt; of each breed in trainval.txt, by the SHA-256 of the names, the first tenth for validation, "
    "the second for testing boxes, the others for training"
)


@dataclass(frozen=True)
class Division:
    """The names of all photographs, those of each split, and the `rule` that divided them."""

    names: Sequence[str]
    splits: dict[Split, list[str]]
    rule: str


def three_breeds() -> Division:
    """598 photographs, all in one split or another."""
    listed: dict[Split, dict[str, str]] = published(MINI)
    splits = {
        split: [f"{breed}_{number}" for breed, numbers in of_breed.items() for number in numbers.split()]
        for split, of_breed in listed.items()
    }
    return Division([name for names in splits.values() for name in names], splits, MINI)


def all_breeds(trainval: Sequence[str], test: Sequence[str], target: str) -> Division:
    """The photographs in the published lists, by the rule OFFICIAL; what is asked for, `target`, says what is tested.

    Photographs of no split are numbered too, so that every question numbers the same ones.
    """
    splits: dict[Split, list[str]] = {"train": [], "val": [], "test": []}
    by_breed = defaultdict(list)
    for name in trainval:
        by_breed[breed_of(name)].append(name)
    for names in by_breed.values():
        # drawn by a hash and not by numpy, which may change what a seed draws
        drawn = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        tenth = len(drawn) // 10
        splits["val"] += drawn[:tenth]
        splits["test"] += drawn[tenth : 2 * tenth]
        splits["train"] += drawn[2 * tenth :]
    if target != "box":
        splits["test"] = list(test)
    return Division([*trainval, *test], splits, OFFICIAL)


def breed_of(name: str) -> str:
    """The breed is a photograph's name without its number."""
    return name.rsplit("_", 1)[0]


def species_of(name: str) -> str:
    """The set writes the breeds of cats with a capital."""
    return "cat" if name[0].isupper() else "dog"
