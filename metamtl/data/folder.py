"""Your own images: a folder or archive in which each class is a folder of images, of any size and mode.

A class is named by its folder's path under the root (`Greek/alpha`); what stands before the last part (`Greek`) is its
group. Three ways to split the classes into training, validation and testing:

- `ratio`: by `ratios`, at random by `seed`
- `list`: by `lists`, a folder with train.txt, val.txt and test.txt (a class a line) or a JSON file with these keys
- `subfolder`: the root has train, val and test, each a folder or an archive (`train.zip`, `mine_train.zip`); lists in
  splits/train.txt and so on, where there are any, must agree with what is found

An image that classes of two splits have, pixel for pixel, is left to the later split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from metamtl.data.classes import ClassSource
from metamtl.data.classfiles import COPIES, Decoding, Listing, OnBad, example_range, examples, without_copies
from metamtl.data.content import content
from metamtl.data.folder_splits import SPLITS, by_list, by_ratio, by_subfolder
from metamtl.data.identity import digest
from metamtl.data.images import Channels, preprocessing
from metamtl.data.source import DataPaths, Split
from metamtl.data.store import ClassExamples, pack
from metamtl.errors import UsageError
from metamtl.registry import register


@register("data", "folder")
class Folder(ClassSource):
    """Class folders, uint8 [C, size, size] with C = 1 for grey and 3 for rgb."""

    def __init__(
        self,
        *,
        paths: DataPaths,
        root: str | None = None,
        split: Literal["ratio", "list", "subfolder"] = "ratio",
        ratios: Sequence[float] = (0.6, 0.2, 0.2),
        seed: int = 0,
        lists: str | None = None,
        size: int = 84,
        channels: Channels = "rgb",
        invert: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        rotations: Literal["all", "train", "none"] = "none",
        within_group: bool = False,
        on_bad: OnBad = "error",
    ) -> None:
        """Raises UsageError where the root or the lists are not given or do not fit what is found."""
        base = _root(root)
        _check_scaling(channels, mean, std)
        if split == "ratio":
            found = by_ratio(base, ratios, seed)
        else:
            found = by_list(base, lists) if split == "list" else by_subfolder(base)
        recipe = preprocessing(size=size, channels=channels, invert=invert)
        decoding = Decoding(size=size, channels=channels, invert=invert, on_bad=on_bad)
        counted: dict[str, int] = {}
        cache = paths.cache.expanduser()
        packed = pack(
            cache,
            "folder",
            {**recipe, "on_bad": on_bad, "copies": COPIES, "splits": found.splits},
            digest([content(one.path, cache) for one in found.listings]),
            lambda: without_copies(_read(found.listings, decoding), found.splits, counted),
            counted,
        )
        present = set(packed.classes)
        rotated: dict[str, tuple[Split, ...]] = {"all": SPLITS, "train": ("train",), "none": ()}
        super().__init__(
            name="folder",
            packed=packed,
            splits={part: [one for one in names if one in present] for part, names in found.splits.items()},
            rotations=rotated[rotations],
            within_group=within_group,
            preprocessing=preprocessing(size=size, channels=channels, invert=invert, mean=mean, std=std),
            facts={
                "split": {"ratio": f"ratio {list(ratios)}, seed {seed}"}.get(split, split),
                "classes_in_no_split": found.unused,
                "examples_per_class": example_range(packed),
                "files_ignored": sum(one.ignored for one in found.listings),
                "images_skipped": sum(one.images for one in found.listings) - len(packed.x) - packed.facts["copies"],
                "copies": packed.facts["copies"],
                "root": base.name,
            },
        )


def _root(root: str | None) -> Path:
    if root is None:
        raise UsageError(
            "data=folder needs data.root=PATH: a folder or zip in which each class is a folder of images "
            "(data.split=subfolder where it has train, val and test)."
        )
    base = Path(root).expanduser()
    if not base.exists():
        raise UsageError(f"data.root={root} does not exist; give the folder or zip that has your class folders.")
    return base


def _check_scaling(channels: Channels, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    count = 1 if channels == "grey" else 3
    if (mean is None) != (std is None):
        raise UsageError("data.mean and data.std go together: give both or neither.")
    for key, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) != count:
            raise UsageError(f"data.{key} has {len(values)} values; data.channels={channels} needs {count}.")
    if std is not None and min(std) <= 0:
        raise UsageError("data.std must be positive in every channel.")


def _read(listings: Sequence[Listing], decoding: Decoding) -> Iterator[ClassExamples]:
    for listed in listings:
        yield from examples(listed, decoding, lambda name: name.rpartition("/")[0])
