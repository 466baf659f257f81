"""Spoken digits with two labels each, which digit and who speaks: the Free Spoken Digit Dataset.

Jackson et al. (2018), Free Spoken Digit Dataset, Zenodo (CC BY-SA 4.0): 3,000 recordings of 8 kHz, of 10 digits by 6
speakers, 50 each. As published, recordings 0 to 4 of each are for testing; 5 to 9 are for validation here. Or speakers
are held out: one for validation and one for testing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from metamtl.data.archive import opened
from metamtl.data.content import content
from metamtl.data.examples import ExampleSource
from metamtl.data.places import first_existing, folders
from metamtl.data.random import permutation
from metamtl.data.sound import log_mel, preprocessing
from metamtl.data.source import DataPaths, IntArray, Split
from metamtl.data.store import ClassExamples, pack
from metamtl.errors import MetamtlError, UsageError
from metamtl.registry import register

ADDRESS = "https://github.com/Jakobovski/free-spoken-digit-dataset"
TESTED, VALIDATED = 5, 5  # recordings of each digit by each speaker


class Recording(NamedTuple):
    """A file of the set, in the order of its parts."""

    digit: int
    speaker: str
    number: int
    member: str


@register("data", "fsdd")
class SpokenDigits(ExampleSource):
    """Spectrograms float32 [1, 40, 98] of a second; `target` is the digit or the speaker.

    `split` is by recording, as published, or by speaker, in an order that `split_seed` settles. Raises UsageError where
    the recordings are missing.
    """

    def __init__(self, *, paths: DataPaths, target: str, split: str, split_seed: int) -> None:
        path = find(paths)
        if path is None:
            raise UsageError(missing("paths.data"))
        if (split, target) == ("speaker", "speaker"):
            raise UsageError(
                "data.split=speaker holds speakers out, who then cannot be told: take data.split=recording."
            )
        recordings = listed(path)
        cache = paths.cache.expanduser()
        packed = pack(cache, "fsdd", preprocessing(), content(path, cache), lambda: _read(path, recordings))
        speakers = sorted({one.speaker for one in recordings})
        labels = [one.digit if target == "digit" else speakers.index(one.speaker) for one in recordings]
        super().__init__(
            name=f"fsdd-{target}",
            kind="classification",
            x=np.asarray(packed.x),
            y=np.array(labels, dtype=np.int64),
            splits=_splits(recordings, speakers, split, split_seed),
            output_size=10 if target == "digit" else len(speakers),
            output_names=[str(digit) for digit in range(10)] if target == "digit" else speakers,
            preprocessing=preprocessing(),
            facts={"target": target, "speakers": speakers, "split": split, "licence": "CC BY-SA 4.0"},
        )


def missing(folder: str) -> str:
    """What is said where the recordings are not there; `folder` is where they may be put."""
    return (
        f"data=fsdd needs the folder `recordings`, zipped or not, under {folder}: git clone --depth 1 {ADDRESS} there."
    )


def find(paths: DataPaths) -> Path | None:
    """The recordings, if they are there."""
    places = folders(paths, "fsdd", None, "fsdd", "free-spoken-digit-dataset", "free-spoken-digit-dataset-master")
    return first_existing(places, ("recordings.zip", "recordings"))


def listed(path: Path) -> list[Recording]:
    """All recordings in order of digit, speaker and number."""
    with opened(path) as archive:
        names = [(name, re.fullmatch(r"(\d)_(\w+)_(\d+)\.wav", PurePosixPath(name).name)) for name in archive.names]
    found = sorted(Recording(int(m[1]), m[2], int(m[3]), name) for name, m in names if m is not None)
    if not found:
        raise MetamtlError(f"{path} has no recordings named DIGIT_SPEAKER_NUMBER.wav; get them from {ADDRESS}.")
    return found


def _splits(recordings: Sequence[Recording], speakers: list[str], split: str, seed: int) -> dict[Split, IntArray]:
    numbers = np.array([one.number for one in recordings])
    if split == "recording":
        test, val = numbers < TESTED, (numbers >= TESTED) & (numbers < TESTED + VALIDATED)
    else:
        order = [speakers[place] for place in permutation(len(speakers), seed)]
        said_by = np.array([one.speaker for one in recordings])
        test, val = said_by == order[0], said_by == order[-1]
    parts: dict[Split, IntArray] = {"train": np.flatnonzero(~test & ~val), "val": np.flatnonzero(val)}
    return {**parts, "test": np.flatnonzero(test)}


def _read(path: Path, recordings: Sequence[Recording]) -> Iterator[ClassExamples]:
    with opened(path) as archive:
        for (digit, speaker), group in groupby(recordings, lambda one: one[:2]):
            clips = [log_mel(archive.read(one.member), f"{path}:{one.member}") for one in group]
            yield ClassExamples(f"{digit}_{speaker}", speaker, np.stack(clips))
