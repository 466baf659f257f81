"""miniImageNet: 100 classes of ImageNet with 600 images each, at 84x84, in 64 / 16 / 20.

Vinyals et al. (2016), Matching networks for one shot learning, NeurIPS, in the split of Ravi and Larochelle (2017),
Optimization as a model for few-shot learning, ICLR. ImageNet's terms forbid passing the images on, so that nobody may
offer a download: the user has a folder or archive of them. Which class an image belongs to is read from its WordNet
id, in the file's name (`n0153282900000005.jpg`) or in a folder's (`n01532829/x.jpg`).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

from metamtl.data.classes import ClassSource
from metamtl.data.classfiles import (
    COPIES,
    Decoding,
    Listing,
    example_range,
    examples,
    held_out_first,
    listing,
    without_copies,
)
from metamtl.data.content import content
from metamtl.data.fewer import with_labelled_classes
from metamtl.data.images import preprocessing
from metamtl.data.places import downloads, first_existing, folders, published
from metamtl.data.source import DataPaths, Split
from metamtl.data.store import pack
from metamtl.errors import MetamtlError
from metamtl.registry import register

# Of ImageNet's training images, per channel; usual in papers.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAMES = ("mini_imagenet", "miniimagenet", "mini-imagenet", "miniImageNet")
SUFFIXES = ("", ".zip", ".tar", ".tar.gz", ".tgz")

_WORDNET = re.compile(r"n\d{8}")


@register("data", "mini_imagenet")
class MiniImageNet(ClassSource):
    """Photographs, uint8 [3, size, size]; classes are WordNet ids."""

    def __init__(
        self,
        *,
        paths: DataPaths,
        size: int = 84,
        root: str | None = None,
        labels: int | None = None,
        val_labels: int | None = None,
    ) -> None:
        """`root`, instead of paths.data, is the folder or archive of the images.

        `labels` and `val_labels` are how many training and validation images are kept, see `fewer`.
        """
        path = find(paths, root)
        if path is None:
            raise MetamtlError(missing(paths))
        recipe = preprocessing(size=size, channels="rgb", invert=False, mean=MEAN, std=STD)
        lists: dict[Split, dict[str, str]] = published("mini_imagenet_ravi.json")
        listed = _listed(path, lists)
        decoding = Decoding(size=size, channels="rgb", invert=False)
        counted: dict[str, int] = {}
        cache = paths.cache.expanduser()
        packed = pack(
            cache,
            "mini_imagenet",
            {**recipe, "copies": COPIES},
            content(path, cache),
            lambda: without_copies(examples(listed, decoding, lambda name: ""), lists, counted),
            counted,
        )
        splits, most = with_labelled_classes(lists, packed.sizes(), labels, val_labels)
        super().__init__(
            name="mini_imagenet",
            packed=packed,
            splits=splits,
            most=most,
            preprocessing=recipe,
            facts={
                "split": "Ravi and Larochelle (2017)",
                "classes_listed": {part: len(names) for part, names in lists.items()},
                "classes_with_published_files": _as_published(listed, lists),
                "examples_per_class": example_range(packed),
                "examples_per_class_published": 600,
                "copies": packed.facts["copies"],
                "files_ignored": listed.ignored,
                "licence": "ImageNet's terms: research only, not to be passed on",
            },
        )


def find(paths: DataPaths, root: str | None = None) -> Path | None:
    """The folder or archive of the images, `root` itself when given, or None."""
    if root is not None and Path(root).expanduser().is_file():
        return Path(root).expanduser()
    names = [name + suffix for name in NAMES for suffix in SUFFIXES]
    places = folders(paths, "mini_imagenet", root)
    return first_existing(places, names) or (places[0] if root is not None else None)


def missing(paths: DataPaths) -> str:
    """Why there is no download, and what the user can do."""
    where = downloads(paths) / "mini_imagenet"
    return (
        "miniImageNet is missing, and cannot be downloaded for you because ImageNet's terms forbid passing it on: ask "
        "for ImageNet (ILSVRC 2012) at https://image-net.org/download.php, make the 100 classes' images with the "
        f"published lists, and put them at {where} (as images/n0153282900000005.jpg or n01532829/NAME.jpg, also zipped "
        "or tarred), or set data.root=PATH."
    )


def _listed(path: Path, lists: dict[Split, dict[str, str]]) -> Listing:
    """The images of the 100 classes, those for testing first and those for training last."""
    known = {name for names in lists.values() for name in names}

    def wordnet_id(member: str) -> str | None:
        *inner, file = member.split("/")
        start = _WORDNET.match(file)
        named = [start.group()] if start else [part for part in reversed(inner) if _WORDNET.fullmatch(part)]
        return named[0] if named and named[0] in known else None

    listed = listing(path, wordnet_id)
    if not listed.classes:
        raise MetamtlError(
            f"{path} has no image of miniImageNet: none is named after one of its 100 WordNet ids, as "
            "images/n0153282900000005.jpg or n01532829/NAME.jpg."
        )
    for name, members in listed.classes.items():
        file, times = Counter(_base(member) for member in members).most_common(1)[0]
        if times > 1:  # it would be in the support and in the query set of one task
            raise MetamtlError(f"{path} has the image '{file}' of class {name} {times} times; leave one.")
    return held_out_first(listed, lists)


def _as_published(listed: Listing, lists: dict[Split, dict[str, str]]) -> int:
    """How many classes have exactly the published 600 file names."""
    marks = {name: mark for names in lists.values() for name, mark in names.items()}
    joined = {name: "\n".join(sorted(map(_base, members))) for name, members in listed.classes.items()}
    return sum(hashlib.sha256(text.encode()).hexdigest()[:16] == marks[name] for name, text in joined.items())


def _base(member: str) -> str:
    return member.rsplit("/", 1)[-1]
