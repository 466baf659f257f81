"""Which keys a composed config may have: those of the primary config and of the options chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metamtl.config.library import Library, Option
from metamtl.config.schema import Entry, list_of, parse_entry
from metamtl.config.stages import trainer_key
from metamtl.errors import UsageError
from metamtl.registry import PACKAGES

PRIMARY = "train"
# Groups whose options write into the sections of others and have none themselves.
WITHOUT_SECTION = frozenset({"recipe", "experiment"})
CANDIDATES = "eval.choose"  # by keys of algo
CHOOSE = f"{CANDIDATES}."
_NAME = parse_entry("str; name of the class in the registry", "name")


@dataclass(frozen=True)
class Keys:
    """The keys of one config.

    `entries`: every key that is known, by its place. `required`: those that must be there. `elsewhere`: keys of options
    that were not chosen, with these options by group. `sections`: the top-level names that are known.
    """

    entries: Mapping[str, Entry]
    required: frozenset[str]
    elsewhere: Mapping[str, Sequence[Option]]
    sections: frozenset[str]
    chosen: Sequence[Option]

    def find(self, path: str) -> Entry | None:
        """The entry of the key at `path`.

        An earlier stage has some of `trainer` for itself, see `config.stages`; `eval.choose` has lists of algo's keys.
        """
        if path.startswith(CHOOSE) and (candidate := self.entries.get(f"algo.{path.removeprefix(CHOOSE)}")):
            return list_of(candidate)
        return self.entries.get(path) or self.entries.get(trainer_key(path) or "")

    def under(self, path: str) -> list[str]:
        """The known keys below `path`."""
        return [key for key in self.entries if key.startswith(f"{path}.")]

    def option(self, group: str) -> Option | None:
        """The option chosen for `group`, if it is known."""
        return next((option for option in self.chosen if option.group == group), None)


def keys_of(library: Library, config: Mapping[str, Any], choices: Mapping[str, Any] | None = None) -> Keys:
    """The keys of `config` under Hydra's `choices`; without them the options are found by the sections' names.

    An option that declares no keys (a user's variant of a published method) has those of the option that its `name`
    names, and a trainer or eval option those of `default`.
    """
    chosen = library.chosen(choices) if choices is not None else _by_name(library, config)
    chosen += _listed(library, config, chosen)
    primary = library.primary[PRIMARY]
    entries, required = dict(primary.entries), set(primary.entries)
    for option in chosen:
        for base in _bases(library, config, option):
            entries.update(base.entries)
        entries.update(option.entries)
        required |= option.entries.keys()
        if option.group in PACKAGES:
            entries[f"{option.section}.name"] = _NAME
    elsewhere: dict[str, list[Option]] = {}
    for option in library.options():
        for key in _readable(option).keys() - entries.keys():
            elsewhere.setdefault(key, []).append(option)
    groups = {group for group in library.groups if group not in WITHOUT_SECTION}
    sections = {key.split(".")[0] for key in entries} | groups
    return Keys(entries, frozenset(required), elsewhere, frozenset(sections), chosen)


def _readable(option: Option) -> Mapping[str, Entry]:
    """Its entries; none where its file is torn, which is the business of whoever chooses it."""
    try:
        return option.entries
    except UsageError:
        return {}


def _by_name(library: Library, config: Mapping[str, Any]) -> list[Option]:
    names = {group: _section_name(config, group) or "default" for group in library.groups}
    return library.chosen(names)


def _listed(library: Library, config: Mapping[str, Any], chosen: Sequence[Option]) -> list[Option]:
    """Options of which several were chosen together: Hydra records no choice then, and sections bear their names."""
    settled = {option.group for option in chosen}
    return [
        option
        for group, options in library.groups.items()
        if group not in settled and isinstance(config.get(group), Mapping)
        for name, option in options.items()
        if isinstance(config[group].get(name), Mapping)
    ]


def _bases(library: Library, config: Mapping[str, Any], option: Option) -> list[Option]:
    options = library.groups[option.group]
    names = ("default", _section_name(config, option.section))
    return [options[name] for name in names if name in options and name != option.name]


def _section_name(config: Mapping[str, Any], section: str) -> str | None:
    node: Any = config
    for part in section.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    name = node.get("name") if isinstance(node, Mapping) else None
    return name if isinstance(name, str) else None
