"""Overrides as typed on the command line: parsed by Hydra's grammar, a sweep taken apart, wrong ones explained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from metamtl.config.hints import did_you_mean, nearest
from metamtl.config.library import Library


def parse(texts: Sequence[str]) -> tuple[list[Override], list[str]]:
    """The overrides that can be read, and a sentence for each that cannot."""
    parser, parsed, problems = OverridesParser.create(), [], []
    for text in texts:
        try:
            found = parser.parse_overrides([text])
        except HydraException as error:
            reason = str(error).splitlines()[0] if "=" in text or text.startswith("~") else ""
            problems.append(_unreadable(text, reason))
            continue
        if all(override.key_or_group for override in found):
            parsed += found
        else:
            problems.append(_unreadable(text, ""))
    return parsed, problems


def _unreadable(text: str, reason: str) -> str:
    if not reason:
        return f"'{text}': no override; write key=value."
    return f"'{text}': cannot be read ({reason}); write key=value, and quote special characters: 'key=\"a b\"'."


def values(override: Override, library: Library) -> Iterator[str]:
    """Each value of a sweep as an override of its own; a plain override as it is."""
    if not override.is_discrete_sweep():
        yield override.input_line or ""
        return
    value: Any = override._value
    if isinstance(value, Glob):
        items: Iterator[str] = iter(value.filter(list(library.groups.get(override.key_or_group, {}))))
    else:
        items = override.sweep_string_iterator()
    for item in items:
        yield f"{override.get_key_element()}={item}"


def expand(parsed: Sequence[Override], library: Library) -> Iterator[list[str]]:
    """The first job of a sweep, then each other value alone with the others at their first."""
    lines = [list(values(override, library)) for override in parsed]
    first = [line[0] for line in lines if line]
    yield first
    for place, line in enumerate(line for line in lines if line):
        for value in line[1:]:
            yield [*first[:place], value, *first[place + 1 :]]


def is_group(override: Override, library: Library) -> bool:
    """Whether it chooses an option rather than setting a value."""
    return override.key_or_group in library.groups or "/" in override.key_or_group


def is_plain_value(override: Override, library: Library) -> bool:
    """Whether it only gives a key that is there another value."""
    special = override.is_add() or override.is_force_add() or override.is_delete() or override.is_hydra_override()
    return not special and not is_group(override, library)


def forced(texts: Sequence[str], library: Library) -> tuple[list[str], list[str]]:
    """Where options are swept, the overrides with those that give keys values as `++key=value`, and these keys.

    Hydra composes a config for a multirun as a whole too, without the options that are swept, and would refuse their
    keys there. Keys have been checked before, and every job checks its own config once more.
    """
    parsed = parse(texts)[0]
    if not any(is_group(override, library) and override.is_sweep_override() for override in parsed):
        return list(texts), []
    plain = [override for override in parsed if is_plain_value(override, library)]
    written = [f"++{one.input_line}" if one in plain else one.input_line or "" for one in parsed]
    return written, [override.key_or_group for override in plain]


def wrong_options(override: Override, library: Library) -> list[str]:
    """A sentence for every option named that its group does not have."""
    group = override.key_or_group
    options, value = library.groups.get(group), override.value()
    if options is None or override.is_delete() or value is None:
        return []
    names = value if isinstance(value, list) else [value]
    return [
        f"{group}={name}: there is no such option{did_you_mean(_with_group(group, nearest(str(name), options)))} "
        f"`metamtl list {group}` shows all."
        for name in names
        if str(name) not in options
    ]


def _with_group(group: str, name: str | None) -> str | None:
    return f"{group}={name}" if name else None
