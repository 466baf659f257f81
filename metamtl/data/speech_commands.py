"""Spoken words as classes for few-shot tasks: Speech Commands v0.01.

Warden (2018), Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, arXiv:1804.03209 (CC BY 4.0): 30
words, in a split of our own by word (`splits/speech_commands.json`). A file is named by its speaker, who may say words
of several splits; how many do is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from metamtl.data.archive import opened
from metamtl.data.classes import ClassSource
from metamtl.data.content import content
from metamtl.data.download import fetch
from metamtl.data.places import downloads, first_existing, folders, published
from metamtl.data.sound import log_mel, preprocessing
from metamtl.data.source import DataPaths, Split
from metamtl.data.store import ClassExamples, pack
from metamtl.errors import MetamtlError
from metamtl.registry import register

URL = "http://download.tensorflow.org/data/speech_commands_v0.01.tar.gz"
SHA256 = "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d"
MAX_DOWNLOAD = 1600 * 2**20  # bytes; the file has 1,489 MB
NOISE = "_background_noise_"


@register("data", "speech_commands")
class SpeechCommands(ClassSource):
    """Spectrograms float32 [1, 40, 98] of a second."""

    def __init__(self, *, paths: DataPaths) -> None:
        path = find(paths) or fetch(
            URL, downloads(paths) / "speech_commands" / Path(URL).name, sha256=SHA256, max_bytes=MAX_DOWNLOAD
        )
        cache = paths.cache.expanduser()
        packed = pack(cache, "speech_commands", preprocessing(), content(path, cache), lambda: _read(path))
        lists: dict[Split, str] = published("speech_commands.json")
        splits: dict[Split, list[str]] = {
            split: [word for word in words.split() if word in packed.classes] for split, words in lists.items()
        }
        super().__init__(
            name="speech_commands",
            packed=packed,
            splits=splits,
            preprocessing=preprocessing(),
            facts={
                "split": "speech_commands.json",
                "classes_listed": {split: len(words.split()) for split, words in lists.items()},
                "speakers": _speakers(path, splits),
                "licence": "CC BY 4.0",
            },
        )


def find(paths: DataPaths) -> Path | None:
    """The recordings, official or a part of them, if they are there."""
    places = folders(paths, "speech_commands", None, "speech_commands", "speech_commands_mini")
    names = ("speech_commands_v0.01.tar.gz", "speech_commands_v0.01", "speech_commands_mini.zip")
    return first_existing(places, names)


def _words(names: tuple[str, ...]) -> dict[str, list[str]]:
    """The recordings of each word, in order."""
    found: dict[str, list[str]] = {}
    for name in names:
        parts = PurePosixPath(name).parts
        if len(parts) > 1 and parts[-1].endswith(".wav") and parts[-2] != NOISE:
            found.setdefault(parts[-2], []).append(name)
    return dict(sorted(found.items()))


def _read(path: Path) -> Iterator[ClassExamples]:
    with opened(path) as archive:
        words = _words(archive.names)
        if not words:
            raise MetamtlError(f"{path} has no folders of words with recordings; get {URL}.")
        for word, members in words.items():
            yield ClassExamples(word, "", np.stack([log_mel(archive.read(one), f"{path}:{one}") for one in members]))


def _speakers(path: Path, splits: dict[Split, list[str]]) -> dict[str, int]:
    """How many speakers each split has, and how many of those of the test split are heard in training too."""
    with opened(path) as archive:
        words = _words(archive.names)
    of = {
        split: {PurePosixPath(one).name.split("_")[0] for word in listed for one in words[word]}
        for split, listed in splits.items()
    }
    return {**{split: len(who) for split, who in of.items()}, "test_in_train": len(of["test"] & of["train"])}
