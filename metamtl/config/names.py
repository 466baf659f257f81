"""The `name` of a section, typed where another key was meant: `backbone.name=MODEL` for `backbone.model=MODEL`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.metadata import entry_points
from typing import Any

from metamtl.config.hints import did_you_mean, nearest
from metamtl.config.keys import Keys
from metamtl.config.library import Library, Option
from metamtl.errors import UsageError
from metamtl.registry import PACKAGES


def wrong_names(config: Mapping[str, Any], keys: Keys, library: Library, typed: Collection[str]) -> list[str]:
    """A sentence for each `GROUP.name` among the `typed` keys whose value in `config` names nothing of that group."""
    problems = []
    for group in PACKAGES:
        key, section = f"{group}.name", config.get(group)
        name = section.get("name") if key in typed and isinstance(section, Mapping) else None
        if isinstance(name, str) and name not in _known(group, library):
            hint = did_you_mean(_meant(group, name, keys, library))
            problems.append(f"{key}={name}: there is no such {group}{hint} `metamtl list {group}` shows all.")
    return problems


def _known(group: str, library: Library) -> set[str]:
    """What the classes of `group` are called: as its options say, which need not be as these are called themselves."""
    sections = [_section(option) for option in library.groups.get(group, {}).values()]
    return {str(section.get("name")) for section in sections} | {
        point.name for point in entry_points(group=f"metamtl.{group}")
    }


def _section(option: Option) -> Mapping[str, Any]:
    """What the option's file says of its own section; nothing where it is torn, which is refused when it is chosen."""
    try:
        section = option.raw.get(option.section, option.raw)
    except UsageError:
        return {}
    return section if isinstance(section, Mapping) else {}


def _meant(group: str, name: str, keys: Keys, library: Library) -> str | None:
    """The option most like `name`, else the one key of the option chosen that takes any text."""
    if option := nearest(name, library.groups.get(group, {})):
        return f"{group}={option}"
    texts = [
        key
        for key in keys.under(group)
        if key != f"{group}.name" and any(kind.text == "a text" for kind in keys.entries[key].kinds)
    ]
    return f"{texts[0]}={name}" if len(texts) == 1 else None
