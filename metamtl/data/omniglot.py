"""Omniglot: 1,623 handwritten characters of 50 alphabets, 20 drawings of each, one by each of 20 people.

Lake, Salakhutdinov and Tenenbaum (2015), Human-level concept learning through probabilistic program induction,
Science 350. Splits of the characters, made before rotation adds classes:

- `vinyals`: Vinyals et al. (2016), as the code of Snell et al. (2017) publishes it: 1,028 / 172 / 423. The published
  figures on it count every rotation as a class in all three splits, which is `rotations=all`.
- `lake`: the authors' own. The 20 evaluation alphabets are for testing; of the 30 background alphabets the five of
  VALIDATION_ALPHABETS are for validation (those that `vinyals` validates on): 792 / 172 / 659.
- `random1200`: 1,200 characters at random, of them the last 100 for validation, and 423 for testing, as in MAML
  (Finn et al. 2017), which does not publish its draw; `seed` draws another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from metamtl.data.alphabets import alphabet_of, characters, leave_out, named
from metamtl.data.classes import ClassSource
from metamtl.data.classfiles import Decoding, Listing, examples, listing
from metamtl.data.content import content
from metamtl.data.fewer import with_labelled_classes
from metamtl.data.identity import digest
from metamtl.data.images import preprocessing
from metamtl.data.official import Official
from metamtl.data.places import published
from metamtl.data.source import DataPaths, Split
from metamtl.data.store import ClassExamples, pack
from metamtl.errors import MetamtlError
from metamtl.registry import register

# The authors publish no sums; these MD5 are the ones by which torchvision knows the official files.
FILES = Official(
    "omniglot",
    "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
    "md5",
    {
        "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
        "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
    },
    inner=("omniglot", "omniglot/python", "omniglot-py"),
    max_bytes=50 * 2**20,  # the larger file has 9.5 MB
)
VALIDATION_ALPHABETS = ("Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)")
RANDOM_TRAINING, RANDOM_VALIDATION = 1100, 100

_MEMBER = re.compile(r"(?:.*/)?(?P<alphabet>[^/]+)/(?P<character>character\d\d)/\d{4}_\d\d\.png")


@register("data", "omniglot")
class Omniglot(ClassSource):
    """Characters as classes, uint8 [1, size, size] with ink 255; groups are alphabets."""

    def __init__(
        self,
        *,
        paths: DataPaths,
        split: Literal["vinyals", "lake", "random1200"] = "vinyals",
        rotations: Literal["all", "train", "none"] = "all",
        within_alphabet: bool = False,
        size: int = 28,
        seed: int = 0,
        root: str | None = None,
        labels: int | None = None,
        val_labels: int | None = None,
        without: Sequence[str] | None = None,
    ) -> None:
        """`root`, instead of paths.data, is the folder that has the two archives or their unpacked folders.

        The alphabets `without` are in no split; the other characters stay where they are.
        `labels` and `val_labels` are how many training and validation drawings are kept, see `fewer`.
        """
        absent = named(without or ())
        listed = leave_out(split_characters(split, seed), absent)
        files = FILES.find_or_fetch(paths, root)
        decoding = Decoding(size=size, channels="grey", invert=True)
        recipe = preprocessing(size=size, channels="grey", invert=True)
        cache = paths.cache.expanduser()
        packed = pack(
            cache,
            "omniglot",
            recipe,
            digest([content(file, cache) for file in files]),
            lambda: _read(files, decoding),
        )
        rotated: dict[str, tuple[Split, ...]] = {"all": ("train", "val", "test"), "train": ("train",), "none": ()}
        splits, most = with_labelled_classes(listed, packed.sizes(), labels, val_labels)
        super().__init__(
            name="omniglot",
            packed=packed,
            splits=splits,
            rotations=rotated[rotations],
            within_group=within_alphabet,
            most=most,
            preprocessing=recipe,
            facts={
                "split": f"random1200, seed {seed}" if split == "random1200" else split,
                "classes_listed": {part: len(names) for part, names in listed.items()},
                **({"without": absent} if absent else {}),
                "files": [file.name for file in files],
                "licence": "MIT (c) 2015 Brenden Lake",
            },
        )


def split_characters(split: str, seed: int) -> dict[Split, list[str]]:
    """The characters of each split as `Alphabet/characterNN`, whether or not the files at hand have them."""
    if split == "vinyals":
        lists: dict[Split, list[str]] = published("omniglot_vinyals.json")
        return lists
    background, evaluation = characters("background"), characters("evaluation")
    if split == "lake":
        held = [one for one in background if alphabet_of(one) in VALIDATION_ALPHABETS]
        return {"train": [one for one in background if one not in set(held)], "val": held, "test": evaluation}
    # Sorted by a hash and not shuffled, since numpy may change what a seed draws.
    drawn = sorted(background + evaluation, key=lambda one: hashlib.sha256(f"{seed}:{one}".encode()).digest())
    ends = (RANDOM_TRAINING, RANDOM_TRAINING + RANDOM_VALIDATION)
    return {"train": drawn[: ends[0]], "val": drawn[ends[0] : ends[1]], "test": drawn[ends[1] :]}


def _read(files: list[Path], decoding: Decoding) -> Iterator[ClassExamples]:
    for file in files:
        yield from examples(_checked(listing(file, _character)), decoding, alphabet_of)


def _character(member: str) -> str | None:
    match = _MEMBER.fullmatch(member)
    return f"{match['alphabet']}/{match['character']}" if match else None


def _checked(listed: Listing) -> Listing:
    """Files that users have are judged by what is in them: it must be drawings of Omniglot's characters."""
    if not listed.classes:
        raise MetamtlError(
            f"{listed.path} does not look like Omniglot: it has no member such as "
            "images_background/Greek/character01/0394_01.png."
        )
    known = {*characters("background"), *characters("evaluation")}
    if unknown := [name for name in listed.classes if name not in known]:
        raise MetamtlError(
            f"{listed.path} does not look like Omniglot: '{unknown[0]}' is none of its 1,623 characters."
        )
    return listed
