"""From the files of an archive or folder to the examples of its classes, one class in memory at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from metamtl.data.archive import opened
from metamtl.data.images import Channels, decode, is_image
from metamtl.data.source import Split
from metamtl.data.store import ClassExamples, Packed
from metamtl.errors import MetamtlError

OnBad = Literal["error", "skip"]
COPIES = "an image of a later split is left out of the earlier ones"  # of a recipe with `without_copies`


@dataclass(frozen=True)
class Listing:
    """The image members of one archive or folder by class, names and members sorted; `ignored` counts the others."""

    path: Path
    classes: Mapping[str, tuple[str, ...]]
    ignored: int

    @property
    def images(self) -> int:
        """How many image files the classes have together."""
        return sum(len(members) for members in self.classes.values())


@dataclass(frozen=True)
class Decoding:
    """How image files become arrays, see `metamtl.data.images.decode`; `on_bad` is what an unreadable one does."""

    size: int
    channels: Channels
    invert: bool
    on_bad: OnBad = "error"


def listing(path: Path, class_of: Callable[[str], str | None]) -> Listing:
    """The images at `path`, sorted into classes by `class_of(member)`; None leaves a member out."""
    found: dict[str, list[str]] = {}
    with opened(path) as archive:
        for member in archive.names:
            name = class_of(member) if is_image(member) else None
            if name is not None:
                found.setdefault(name, []).append(member)
        total = len(archive.names)
    classes = {name: tuple(found[name]) for name in sorted(found)}
    return Listing(path, classes, total - sum(len(members) for members in classes.values()))


def examples(listed: Listing, decoding: Decoding, group_of: Callable[[str], str]) -> Iterator[ClassExamples]:
    """The classes of a listing with their decoded images, uint8 [n, C, size, size], in the order of the listing.

    Raises MetamtlError that names an unreadable image, unless such are skipped; a class with none left is left out.
    """
    with opened(listed.path) as archive:
        for name, members in listed.classes.items():
            images: list[NDArray[np.uint8]] = []
            for member in members:
                data = archive.read(member)
                where = f"{listed.path}:{member}" if listed.path.is_file() else str(listed.path / member)
                try:
                    images.append(
                        decode(
                            data,
                            size=decoding.size,
                            channels=decoding.channels,
                            invert=decoding.invert,
                            where=where,
                        )
                    )
                except MetamtlError as error:
                    if decoding.on_bad == "error":
                        raise MetamtlError(f"{error} Mend or remove it.") from error
            if images:
                yield ClassExamples(name, group_of(name), np.stack(images))


def held_out_first(listed: Listing, splits: Mapping[Split, Collection[str]]) -> Listing:
    """The classes of a listing that are in a split, those for testing first and those for training last."""
    order: tuple[Split, ...] = ("test", "val", "train")
    sets = [set(splits.get(split, ())) for split in order]
    classes = {name: listed.classes[name] for names in sets for name in listed.classes if name in names}
    return Listing(listed.path, classes, listed.ignored)


def without_copies(
    classes: Iterable[ClassExamples], splits: Mapping[Split, Collection[str]], counted: dict[str, int]
) -> Iterator[ClassExamples]:
    """The classes without any image that a class of another split, earlier in `classes`, has pixel for pixel.

    Photograph collections have some images twice under two labels; a held-out one must not be trained on, so give the
    classes for testing first and those for training last. counted["copies"] becomes the number left out.
    """
    counted["copies"] = 0
    split_of = {name: split for split, names in splits.items() for name in names}
    first: dict[bytes, Split] = {}
    for one in classes:
        split = split_of[one.name]
        marks = [hashlib.sha256(image.tobytes()).digest() for image in one.x]
        kept = np.array([first.setdefault(mark, split) == split for mark in marks])
        counted["copies"] += int((~kept).sum())
        if kept.any():
            yield ClassExamples(one.name, one.group, one.x[kept])


def example_range(packed: Packed) -> list[int]:
    """The fewest and the most examples that a class of the pack has."""
    sizes = np.diff(packed.offsets)
    return [int(sizes.min()), int(sizes.max())]
