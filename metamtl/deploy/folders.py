"""Class folders and lists of pictures on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metamtl.data.images import is_image
from metamtl.errors import UsageError


def class_folders(root: Path) -> dict[str, list[Path]]:
    """The pictures of each class, sorted; a class is a folder of pictures, named by its path under `root`.

    UsageError where there is no class, only one, a folder without a picture, or a picture outside a class folder.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is no folder: give one that has a folder of pictures for each class.")
    classes: dict[str, list[Path]] = {}
    for picture in _pictures(root):
        classes.setdefault(picture.parent.relative_to(root).as_posix(), []).append(picture)
    problems = []
    if loose := classes.pop(".", []):
        problems.append(f"{loose[0]} lies in no class folder: move it into {root}/CLASS/.")
    problems += [f"The class folder {folder} has no picture: add some or remove it." for folder in _empty(root)]
    if not problems and len(classes) < 2:
        found = f"one class folder, {next(iter(classes))}" if classes else "no class folder with pictures"
        problems.append(f"{root} has {found}: at least two classes are needed.")
    if problems:
        raise UsageError(*problems)
    return classes


def pictures_in(places: Sequence[Path]) -> list[Path]:
    """The files among `places`, and every picture in the folders among them; UsageError where there is none."""
    found: list[Path] = []
    for place in places:
        if not place.exists():
            raise UsageError(f"{place} does not exist; give pictures, or folders of them.")
        inside = _pictures(place) if place.is_dir() else [place]
        if not inside:
            raise UsageError(f"{place} has no picture.")
        found += inside
    return found


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and is_image(path.relative_to(folder).as_posix())
    )


def _empty(root: Path) -> list[Path]:
    """Folders in which there is no picture at any depth, the outermost of each."""
    folders = [path for path in sorted(root.rglob("*")) if path.is_dir() and not _hidden(path.relative_to(root))]
    empty = [folder for folder in folders if not _pictures(folder)]
    return [folder for folder in empty if folder.parent not in empty]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
