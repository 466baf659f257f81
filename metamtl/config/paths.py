"""Where option files lie: metamtl's own folder, the folders of installed packages, and a user's own.

A package adds a folder by an entry point in the group `metamtl.conf`. Its value is a module, whose own folder is
meant (found without importing the module), or `module:attribute`, a path held by the module.
"""

from __future__ import annotations

import importlib.util
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from metamtl.errors import UsageError

PACKAGE = Path(__file__).resolve().parent.parent
GROUP = "metamtl.conf"


def own_folder() -> Path:
    """`metamtl/conf` in an installed wheel, the top-level `conf` in an editable install."""
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else PACKAGE.parent / "conf"


def third_party_folders() -> list[Path]:
    """Folders of installed packages, by name of their entry points; raises UsageError where one is missing."""
    return [_folder(point) for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)]


def folders(config_dir: Path | None = None) -> list[Path]:
    """Every folder of options, in the order in which the first to have a file wins."""
    return [own_folder(), *third_party_folders(), *([user_folder(config_dir)] if config_dir else [])]


def user_folder(config_dir: Path) -> Path:
    """The user's folder as an absolute path; raises UsageError where it does not exist."""
    folder = config_dir.expanduser().absolute()
    if not folder.is_dir():
        raise UsageError(f"--config-dir {config_dir}: there is no such folder.")
    return folder


def _folder(point: EntryPoint) -> Path:
    folder = Path(point.load()) if point.attr else _module_folder(point.module)
    if folder is None or not folder.is_dir():
        raise UsageError(f"The installed entry point {GROUP}: {point.name} = {point.value} names no folder.")
    return folder.resolve()


def _module_folder(module: str) -> Path | None:
    """The folder of `module`, which is not imported: its package may import torch."""
    top, *rest = module.split(".")
    found = importlib.util.find_spec(top)
    if found is None or not found.submodule_search_locations:
        return None
    candidates = (Path(place, *rest) for place in found.submodule_search_locations)
    return next((folder for folder in candidates if folder.is_dir()), None)
