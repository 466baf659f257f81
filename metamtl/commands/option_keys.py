"""What one option has: each key with its value, type and meaning, and the options that it chooses of other groups."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from metamtl.config.library import Library, Option
from metamtl.config.schema import Entry


class Key(NamedTuple):
    """A key by its place in the config, as one types it; `type` and `help` are empty where its file says none."""

    key: str
    value: str
    type: str
    help: str


def keys_of_option(option: Option, library: Library) -> list[Key]:
    """The keys that the option sets or declares, the chosen options of other groups first."""
    entries = {**_base_entries(option, library), **option.entries}
    keys = [Key(_bare(group), name, "", "") for group, name in option.defaults]
    places = [*option.values, *(place for place in entries if place not in option.values)]
    for place in places:
        if place == f"{option.section}.name":  # of the class, which the option stands for
            continue
        entry = _entry_of(place, entries)
        value = _text(option.values[place]) if place in option.values else ""
        keys.append(Key(place, value, entry.type if entry else "", entry.help if entry else ""))
    return keys


def _base_entries(option: Option, library: Library) -> Mapping[str, Entry]:
    """Those of the option whose class it names: a variant of a method declares none of its own."""
    name = option.values.get(f"{option.section}.name")
    base = library.groups.get(option.group, {}).get(str(name))
    return {} if base is None or base is option else base.entries


def _entry_of(place: str, entries: Mapping[str, Entry]) -> Entry | None:
    own = entries.get(place)
    if own is not None:
        return own
    maps = (entry for key, entry in entries.items() if entry.is_map and place.startswith(f"{key}."))
    return next(maps, None)


def _bare(group: str) -> str:
    return group.removeprefix("optional ").removeprefix("override ").lstrip("/")


def _text(value: Any) -> str:
    """As it is typed on the command line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
