"""The three ways to split a user's class folders: at random by ratios, by lists of names, by subfolders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metamtl.data.classfiles import Listing, held_out_first, listing
from metamtl.data.source import Split
from metamtl.errors import MetamtlError, UsageError

SPLITS: tuple[Split, ...] = ("train", "val", "test")
SYNONYMS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Found:
    """What is under the root: the listings, held-out classes first (so they are packed), and each split's classes."""

    listings: tuple[Listing, ...]
    splits: dict[Split, list[str]]
    unused: int  # classes in no split


def _class_folder(member: str) -> str | None:
    folder, slash, _ = member.rpartition("/")
    return folder if slash else None


def _stripped(path: Path) -> Listing:
    """The classes of `path` without the folders that all of them are in, such as an archive's own top folder."""
    listed = listing(path, _class_folder)
    if not listed.classes:
        raise MetamtlError(
            f"{path} has no class folders with images: images are expected as CLASS/NAME.png, or .jpg and so on. "
            "Where it has train, val and test archives, use data.split=subfolder."
        )
    parents = [name.split("/")[:-1] for name in listed.classes]
    depth = 0
    while all(len(parent) > depth and parent[: depth + 1] == parents[0][: depth + 1] for parent in parents):
        depth += 1
    classes = {"/".join(name.split("/")[depth:]): members for name, members in listed.classes.items()}
    return Listing(path, classes, listed.ignored)


def by_ratio(base: Path, ratios: Sequence[float], seed: int) -> Found:
    """The classes of `base` at random by `seed`; `ratios` are the parts for training, validation and testing."""
    if len(ratios) != 3 or min(ratios) < 0 or abs(sum(ratios) - 1) > 1e-6:
        raise UsageError(f"data.ratios={list(ratios)} must be three numbers, none negative, that add up to 1.")
    listed = _stripped(base)
    names = sorted(listed.classes, key=lambda one: hashlib.sha256(f"{seed}:{one}".encode()).digest())
    first, second = round(ratios[0] * len(names)), round((ratios[0] + ratios[1]) * len(names))
    splits: dict[Split, list[str]] = {"train": names[:first], "val": names[first:second], "test": names[second:]}
    return Found((held_out_first(listed, splits),), splits, 0)


def by_list(base: Path, lists: str | None) -> Found:
    """The classes of `base` that `lists` names, a folder of text files or a JSON file."""
    if lists is None:
        raise UsageError(
            "data.split=list needs data.lists=PATH: a folder with train.txt, val.txt and test.txt, or a JSON file."
        )
    listed = _stripped(base)
    splits = _read_lists(Path(lists).expanduser())
    named = [name for names in splits.values() for name in names]
    if absent := sorted(set(named) - listed.classes.keys()):
        raise UsageError(
            f"data.lists={lists} names the class '{absent[0]}', which {listed.path} lacks ({len(absent)} such)."
        )
    _check_disjoint(splits, f"data.lists={lists}")
    kept = held_out_first(listed, splits)
    return Found((kept,), splits, len(listed.classes) - len(kept.classes))


def _read_lists(path: Path) -> dict[Split, list[str]]:
    try:
        if path.is_dir():
            files = {part: path / f"{part}.txt" for part in SPLITS}
            return {part: _lines(file) for part, file in files.items() if file.exists() or part != "val"}
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        return {part: [str(name) for name in found[part]] for part in SPLITS if part in found or part != "val"}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"data.lists={path} cannot be read ({error}): it must be a folder with train.txt, val.txt and test.txt, "
            "or a JSON file with lists train, val and test."
        ) from error


def by_subfolder(base: Path) -> Found:
    """The classes of each split's own folder or archive in `base`; a class must not be in two of them."""
    if base.is_file():
        return _inside_archive(base)
    places = {part: place for part in SPLITS if (place := _part(base, part)) is not None}
    _check_parts(base, list(places))
    listings = {part: _stripped(place) for part, place in places.items()}
    splits = {part: list(one.classes) for part, one in listings.items()}
    _check_disjoint(splits, str(base))
    for part, names in splits.items():
        _check_against_list(base / "splits" / f"{part}.txt", names, places[part])
    return Found(tuple(reversed(listings.values())), splits, 0)


def _inside_archive(base: Path) -> Found:
    """One archive with train, val and test at its top."""
    listed = _stripped(base)
    tops = {part: [name for name in listed.classes if name.split("/")[0] in SYNONYMS[part]] for part in SPLITS}
    _check_parts(base, [part for part in SPLITS if tops[part]])
    splits: dict[Split, list[str]] = {part: [name.split("/", 1)[-1] for name in tops[part]] for part in SPLITS}
    _check_disjoint(splits, str(base))
    named = {name.split("/", 1)[-1]: listed.classes[name] for part in SPLITS for name in tops[part]}
    found = Listing(base, named, listed.ignored)
    return Found((held_out_first(found, splits),), splits, len(listed.classes) - len(named))


def _part(base: Path, part: Split) -> Path | None:
    """The one folder or archive of a split: named train, or ending in _train or -train."""
    found = []
    for place in sorted(base.iterdir()):
        stem = place.name
        if place.is_file():
            suffix = next((one for one in SUFFIXES if stem.endswith(one)), None)
            if suffix is None:
                continue
            stem = stem.removesuffix(suffix)
        if stem.replace("-", "_").split("_")[-1].lower() in SYNONYMS[part]:
            found.append(place)
    if len(found) > 1:
        raise UsageError(f"{base} has two places for the {part} split, {found[0].name} and {found[1].name}; leave one.")
    return found[0] if found else None


def _check_parts(base: Path, present: list[Split]) -> None:
    if missing := [part for part in ("train", "test") if part not in present]:
        raise UsageError(
            f"data.split=subfolder needs train, val and test under {base}, as folders or archives; {missing[0]} is "
            "missing. With plain class folders use data.split=ratio."
        )


def _check_disjoint(splits: dict[Split, list[str]], where: str) -> None:
    owner: dict[str, Split] = {}
    for part, names in splits.items():
        for name in names:
            if name in owner:
                raise UsageError(
                    f"{where} has the class '{name}' in {owner[name]} and in {part}: few-shot splits hold different "
                    "classes. Where each folder has all classes, point data.root at one of them with data.split=ratio."
                )
            owner[name] = part


def _check_against_list(file: Path, names: list[str], place: Path) -> None:
    if file.exists() and (differing := sorted(set(_lines(file)) ^ set(names))):
        raise MetamtlError(
            f"{file} and {place} disagree about the class '{differing[0]}' ({len(differing)} such): mend or remove "
            "the list."
        )


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
