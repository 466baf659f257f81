"""Where the files of a data set are looked for, and the published class lists that ship with the package."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from metamtl.data.source import DataPaths
from metamtl.errors import UsageError

UNNAMED = "the folder that you name as paths.data"  # where a person is asked to put files, and has named none yet


def folders(paths: DataPaths, option: str, root: str | Path | None, *inner: str) -> list[Path]:
    """The existing folders to look in, best first: `root` alone when given, else paths.data and our downloads.

    Each is preceded by its subfolders `inner`, the names that the data set's folder usually has. Raises UsageError
    where `root` or paths.data is given and is no folder; `option` is the data option's name.
    """
    if root is not None:
        bases = [Path(root).expanduser()]
        if not bases[0].is_dir():
            raise UsageError(f"data.root={root} is no folder; data={option} needs the folder that has its files.")
    else:
        kept = (paths.cache / "downloads").expanduser()
        bases = list(dict.fromkeys((downloads(paths), kept)))
    return list(dict.fromkeys(place for base in bases for place in _places(base, inner) if place.is_dir()))


def downloads(paths: DataPaths) -> Path:
    """Where what we fetch is kept: paths.data, where the user keeps data, or else under paths.cache.

    Raises UsageError where paths.data is named and is no folder: a mistyped one would be made, and gigabytes put there,
    or files of one's own would be asked for that are at hand.
    """
    if paths.data is None:
        return (paths.cache / "downloads").expanduser()
    folder = paths.data.expanduser()
    if not folder.is_dir():
        raise UsageError(
            f"paths.data={paths.data}: there is no such folder: make it (mkdir -p {shlex.quote(str(folder))}), or "
            f"leave paths.data out, and what is missing is downloaded into {paths.cache / 'downloads'}."
        )
    return folder


def first_existing(places: Sequence[Path], names: Iterable[str]) -> Path | None:
    """The first of `names`, a file or a folder, in the first of `places` that has one."""
    wanted = list(names)
    found = (place / name for place in places for name in wanted if (place / name).exists())
    return next(found, None)


def published(name: str) -> Any:
    """A class list from metamtl/data/splits, whose NOTICE.txt says where each comes from."""
    return json.loads((files("metamtl.data") / "splits" / name).read_text(encoding="utf-8"))


def _places(base: Path, inner: Sequence[str]) -> Iterator[Path]:
    for name in inner:
        yield base / name
    yield base
