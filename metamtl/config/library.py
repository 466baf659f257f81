"""Every option that can be chosen, read as raw YAML: what it is and which keys it has, with no class imported.

An option is a file `GROUP/NAME.yaml` of a folder of options; a name may have parts, as `omniglot/maml_5w1s`. Its
`about` says `summary`, `paper`, `year`, `keys` (see `metamtl.config.schema`) and, for data, `classes` and
`examples_per_class`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import yaml

from metamtl.config import paths
from metamtl.config.schema import Entry, parse_entry
from metamtl.errors import UsageError

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Option:
    """One file; `group` is empty for the primary config `train`."""

    group: str
    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        """The file as it is."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def raw(self) -> dict[str, Any]:
        """The file's content; raises UsageError with the line where it is no YAML mapping."""
        try:
            content = yaml.load(self.text, Loader=_Loader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise UsageError(f"{self.path} is not valid YAML: {' '.join(str(error).split())}.") from error
        if content is not None and not isinstance(content, dict):
            raise UsageError(f"{self.path} must hold keys and values, not a {type(content).__name__}.")
        return content or {}

    @property
    def about(self) -> dict[str, Any]:
        """What the file says of itself; empty where it says nothing."""
        about = self.raw.get("about")
        return about if isinstance(about, dict) else {}

    @cached_property
    def values(self) -> dict[str, Any]:
        """The value of each key that the file sets, by the key's place in the composed config."""
        found = _PACKAGE.search(self.text[:512])
        whole = found is not None and found.group(1) == "_global_"
        own = {key: value for key, value in self.raw.items() if key not in ("about", "defaults")}
        return dict(_flat(own, "" if whole or not self.section else f"{self.section}."))

    @cached_property
    def defaults(self) -> list[tuple[str, str]]:
        """The options of other groups that it chooses, as pairs of group and name; `optional` stays before a group."""
        entries = [entry for entry in self.raw.get("defaults") or [] if isinstance(entry, dict)]
        pairs = [(str(group), str(name)) for entry in entries for group, name in entry.items()]
        return [(group.removeprefix("override ").lstrip("/"), name) for group, name in pairs]

    @cached_property
    def section(self) -> str:
        """Where its keys stand in the composed config: its group, unless the file's header names another place."""
        found = _PACKAGE.search(self.text[:512])
        package = found.group(1) if found else "_group_"
        return self.group if package in ("_global_", "_group_") else package

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """The types of its keys, by their place in the composed config."""
        prefix = f"{self.section}." if self.section else ""
        keys = self.about.get("keys") or {}
        return {f"{prefix}{key}": parse_entry(str(text), f"{self.path}: {key}") for key, text in keys.items()}


def _flat(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _option(group: str, name: str, path: Path) -> Option:
    """The file's option; one that has not changed since is not read again."""
    try:
        status = path.stat()
    except OSError:  # a link to nothing: the business of whoever chooses it
        return Option(group, name, path)
    return _unchanged(group, name, path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _unchanged(group: str, name: str, path: Path, changed: int, size: int) -> Option:
    return Option(group, name, path)


class Library:
    """The options of all folders: `groups` maps a group's name to its options by name; `user` is a folder of theirs."""

    def __init__(self, folders: Iterable[Path], user: Path | None = None) -> None:
        self.user = user
        self.groups: dict[str, dict[str, Option]] = {}
        self.primary: dict[str, Option] = {}
        for folder in folders:
            for path in sorted(folder.glob("*.yaml")):
                self.primary.setdefault(path.stem, _option("", path.stem, path))
            for path in sorted(folder.glob("*/**/*.yaml")):
                group, *name = path.relative_to(folder).with_suffix("").parts
                if group != "hydra":
                    option = _option(group, "/".join(name), path)
                    self.groups.setdefault(group, {}).setdefault(option.name, option)

    @classmethod
    def load(cls, config_dir: Path | None = None) -> Library:
        """All options there are, a user's own folder included."""
        return cls(paths.folders(config_dir), config_dir)

    def chosen(self, choices: Mapping[str, Any]) -> list[Option]:
        """The options of Hydra's `choices` (group -> name, or names as `[a, b]`) that are known here."""
        found = []
        for group, names in choices.items():
            for name in re.findall(r"[^\s\[\],'\"]+", str(names)):
                option = self.groups.get(group, {}).get(name)
                found += [option] if option else []
        return found

    def options(self) -> list[Option]:
        """Every option of every group."""
        return [option for group in self.groups.values() for option in group.values()]
