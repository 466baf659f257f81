"""Names to classes, imported on first use, so that listing and checking options import no class.

An option `algo=maml` is built by the class that `metamtl/algos/maml.py` registers under that name. A third-party
package declares an entry point in the group `metamtl.algo` (`maml_plus = "their_package.maml_plus"`) whose module
registers its class in the same way; no list is edited anywhere. The folder of `--config-dir` may hold `algo/NAME.py`
beside `algo/NAME.yaml`; no such path is ever read from a config.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from metamtl.errors import UsageError

C = TypeVar("C", bound=type)

PACKAGES: Mapping[str, str] = {
    "data": "metamtl.data",
    "backbone": "metamtl.backbones",
    "algo": "metamtl.algos",
    "transfer": "metamtl.transfer",
    "weighting": "metamtl.multitask",
    "sharing": "metamtl.sharing",
    "logger": "metamtl.trackers",
}

FOLDERS: list[Path] = []  # a user's own, whose GROUP/NAME.py stands beside GROUP/NAME.yaml
_CLASSES: dict[tuple[str, str], type] = {}


def register(group: str, name: str) -> Callable[[C], C]:
    """Class decorator: `group` is a config group, `name` the value of its `name` key."""

    def keep(cls: C) -> C:
        _CLASSES[group, name] = cls
        return cls

    return keep


def lookup(group: str, name: str) -> type:
    """The class registered as `name` in `group`; raises UsageError where no module provides it."""
    # A name comes from a config, which must not lead to any other module or file than an option's own.
    if (group, name) not in _CLASSES and re.fullmatch(r"[\w-]+", name):
        _import_provider(group, name)
    if (group, name) not in _CLASSES:
        raise UsageError(f"No {group} named '{name}' is installed; `metamtl list {group}` shows what is.")
    return _CLASSES[group, name]


def build(group: str, options: Mapping[str, Any], **context: Any) -> Any:
    """An object of `group` from its config section: the class by `name`, every other key a keyword argument."""
    arguments = {key: value for key, value in options.items() if key not in ("name", "about")}
    return lookup(group, options["name"])(**context, **arguments)


def _import_provider(group: str, name: str) -> None:
    for file in (folder / group / f"{name}.py" for folder in FOLDERS):
        if file.is_file():
            _run_file(file, f"metamtl_own.{group}.{name}")
            return
    for point in entry_points(group=f"metamtl.{group}", name=name):
        point.load()
        return
    module = f"{PACKAGES[group]}.{name}"
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:  # the module exists, something that it imports does not
            raise


def use_folder(folder: Path) -> None:
    """From now on, options of the user's own folder have their classes there."""
    if folder.absolute() not in FOLDERS:
        FOLDERS.append(folder.absolute())


def _run_file(file: Path, module: str) -> None:
    spec = importlib.util.spec_from_file_location(module, file)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded  # dataclasses and pickling look a class's module up
    spec.loader.exec_module(loaded)
