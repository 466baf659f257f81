"""A small made data set: three groups of twelve classes of twelve images of random pixels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from metamtl.data.classes import ClassSource
from metamtl.data.source import Split
from metamtl.data.store import ClassExamples, pack

GROUPS = ("a", "b", "c")
PER_GROUP = 12
CLASSES = tuple(f"{group}/{c}" for group in GROUPS for c in range(PER_GROUP))
EXAMPLES = 12
SPLITS: Mapping[Split, Sequence[str]] = {
    "train": [one for one in CLASSES if int(one[2:]) < 8],
    "val": [one for one in CLASSES if int(one[2:]) in (8, 9)],
    "test": [one for one in CLASSES if int(one[2:]) in (10, 11)],
}


def read(fewer: Mapping[str, int] | None = None) -> Iterator[ClassExamples]:
    for c, name in enumerate(CLASSES):
        count = (fewer or {}).get(name, EXAMPLES)
        x = np.random.default_rng(c).integers(0, 256, (count, 1, 4, 4), dtype=np.uint8)
        yield ClassExamples(name, name[0], x)


def made(
    cache: Path,
    splits: Mapping[Split, Sequence[str]] = SPLITS,
    rotations: Collection[Split] = (),
    within_group: bool = False,
    fewer: Mapping[str, int] | None = None,
    most: Mapping[Split, int] = MappingProxyType({}),
) -> ClassSource:
    """The source; `fewer` gives some classes another number of examples."""
    return ClassSource(
        name="made",
        packed=pack(cache, "made", {"fewer": dict(fewer or {})}, "", lambda: read(fewer)),
        splits=splits,
        rotations=rotations,
        within_group=within_group,
        most=most,
        preprocessing={"scale": 255},
        facts={"licence": "none"},
    )
