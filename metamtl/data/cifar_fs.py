"""CIFAR-FS: the 100 classes of CIFAR-100 (32x32 photographs) in 64 / 16 / 20 for training, validation and testing.

Bertinetto, Henriques, Torr and Vedaldi (2019), Meta-learning with differentiable closed-form solvers, ICLR; images of
Krizhevsky (2009), Learning multiple layers of features from tiny images.
All 600 images of a class are used, but for the few that a class of another split has too (`girl` and `baby` share
some): those are left to the later split. Read from
the official archive, or from three archives or folders `cifar_fs_{train,val,test}` of class folders with images.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from metamtl.data.archive import opened
from metamtl.data.cifar_pickle import loads
from metamtl.data.classes import ClassSource
from metamtl.data.classfiles import COPIES, Decoding, Listing, example_range, examples, listing, without_copies
from metamtl.data.content import content
from metamtl.data.download import fetch
from metamtl.data.fewer import with_labelled_classes
from metamtl.data.identity import digest
from metamtl.data.images import preprocessing
from metamtl.data.places import downloads, first_existing, folders, published
from metamtl.data.source import DataPaths, Split
from metamtl.data.store import ClassExamples, pack
from metamtl.errors import MetamtlError
from metamtl.registry import register

URL = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
MD5 = "eb9058c3a382ffc7106e4002c42a8d85"  # as its page publishes it; no SHA-256 is published
MAX_DOWNLOAD = 200 * 2**20  # bytes; the file has 169 MB
SIDE = 32
# Of the 50,000 training images of CIFAR-100, per channel; usual in papers.
MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@register("data", "cifar_fs")
class CifarFS(ClassSource):
    """Photographs, uint8 [3, 32, 32]; groups are the 20 superclasses."""

    def __init__(
        self, *, paths: DataPaths, root: str | None = None, labels: int | None = None, val_labels: int | None = None
    ) -> None:
        """`root`, instead of paths.data, is the folder that has the official archive or the three of the splits.

        `labels` and `val_labels` are how many training and validation images are kept, see `fewer`.
        """
        files = find_or_fetch(paths, root)
        recipe = preprocessing(size=SIDE, channels="rgb", invert=False, mean=MEAN, std=STD)
        counted: dict[str, int] = {}
        cache = paths.cache.expanduser()
        packed = pack(
            cache,
            "cifar_fs",
            {**recipe, "copies": COPIES},
            digest([content(file, cache) for file in files]),
            lambda: without_copies(_read(files), split_classes(), counted),
            counted,
        )
        listed = split_classes()
        splits, most = with_labelled_classes(listed, packed.sizes(), labels, val_labels)
        super().__init__(
            name="cifar_fs",
            packed=packed,
            splits=splits,
            most=most,
            preprocessing=recipe,
            facts={
                "split": "Bertinetto et al. (2019)",
                "classes_listed": {part: len(names) for part, names in listed.items()},
                "examples_per_class": example_range(packed),
                "examples_per_class_published": 600,
                "copies": packed.facts["copies"],
                "files": [file.name for file in files],
                "licence": "none stated by the authors",
            },
        )


def split_classes() -> dict[Split, dict[str, str]]:
    """Of each split, the superclass of every class, in the published order."""
    lists: dict[Split, dict[str, str]] = published("cifar_fs.json")
    return {part: {name: group for group, names in lists[part].items() for name in names.split()} for part in SPLITS}


def find(paths: DataPaths, root: str | None = None) -> list[Path]:
    """The official archive or folder, alone, or the three of the splits in their order, or nothing."""
    places = folders(paths, "cifar_fs", root, "cifar_fs", "cifar100", "cifar-100", "cifar_100")
    official = first_existing(places, ("cifar-100-python.tar.gz", "cifar-100-python"))
    if official is not None:
        return [official]
    parts = [first_existing(places, (f"cifar_fs_{part}.zip", f"cifar_fs_{part}")) for part in SPLITS]
    return [part for part in parts if part is not None] if all(parts) else []


def find_or_fetch(paths: DataPaths, root: str | None = None) -> list[Path]:
    """The files of `find`, or else the official archive, downloaded and checked against the official sum."""
    base = Path(root).expanduser() if root is not None else downloads(paths) / "cifar100"
    return find(paths, root) or [fetch(URL, base / "cifar-100-python.tar.gz", md5=MD5, max_bytes=MAX_DOWNLOAD)]


def _read(files: list[Path]) -> Iterator[ClassExamples]:
    """The classes for testing first and those for training last."""
    if len(files) == 1:
        yield from _read_official(files[0])
        return
    for part, file in reversed(list(zip(SPLITS, files, strict=True))):
        groups = split_classes()[part]
        listed = _checked(listing(file, _class_folder), part, groups)
        yield from examples(listed, Decoding(size=SIDE, channels="rgb", invert=False), groups.__getitem__)


def _read_official(path: Path) -> Iterator[ClassExamples]:
    with opened(path) as archive:
        members = {name.rsplit("/", 1)[-1]: name for name in archive.names}
        if missing := [name for name in ("meta", "train", "test") if name not in members]:
            raise MetamtlError(f"{path} does not look like CIFAR-100: it has no member '{missing[0]}'.")
        meta, *parts = (
            loads(archive.read(members[name]), f"{path}:{members[name]}") for name in ("meta", "train", "test")
        )
    try:
        pixels = np.concatenate([part["data"] for part in parts]).reshape(-1, 3, SIDE, SIDE)
        labels = np.concatenate([np.asarray(part["fine_labels"], dtype=np.int64) for part in parts])
        names = list(meta["fine_label_names"])
    except (KeyError, ValueError, TypeError) as error:
        raise MetamtlError(f"{path} does not look like CIFAR-100 ({error}).") from error
    lists = split_classes()
    groups = {name: group for part in reversed(SPLITS) for name, group in lists[part].items()}
    if set(names) != set(groups) or len(labels) != len(pixels):
        raise MetamtlError(f"{path} does not look like CIFAR-100: its classes are not the 100 known ones.")
    for name, group in groups.items():
        yield ClassExamples(name, group, pixels[labels == names.index(name)])


def _class_folder(member: str) -> str | None:
    parts = member.split("/")
    return parts[-2] if len(parts) > 1 else None


def _checked(listed: Listing, part: Split, expected: dict[str, str]) -> Listing:
    """The classes of a split's archive must be that split's: one from elsewhere would leak between splits."""
    if foreign := sorted(listed.classes.keys() - expected.keys()):
        raise MetamtlError(f"{listed.path} has the class '{foreign[0]}', which is not in the {part} split of CIFAR-FS.")
    if not listed.classes:
        raise MetamtlError(f"{listed.path} has no class folders with images.")
    return listed
