"""What may follow on the command line, from raw YAML: fast enough for the Tab key, with neither Hydra nor torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from metamtl.config.keys import PRIMARY
from metamtl.config.library import Library, Option

TRAIN_FLAGS = ("--multirun", "--config-dir", "--cfg", "--package", "--resolve", "--info", "--help", "--hydra-help")


def train(words: Sequence[str]) -> list[str]:
    """Completions of the last of `words` (those after `metamtl train`), each as the whole word."""
    *before, current = words
    library = Library.load(_config_dir(before))
    if before and before[-1] in ("--cfg", "-c"):
        return _starting(("job", "hydra", "all"), current)
    if current.startswith("-"):
        return _starting(TRAIN_FLAGS, current)
    return keys_and_values(library, _chosen(library, before), current, groups=True)


def keys_and_values(library: Library, options: Iterable[Option], current: str, groups: bool) -> list[str]:
    """Completions of `current`, a key or `key=` and the start of a value, or of the last value after a comma."""
    entries = dict(library.primary[PRIMARY].entries)
    for option in options:
        entries.update(option.entries)
    key, sign, value = current.partition("=")
    if sign:
        last = value.rpartition(",")[2]
        entry, names = entries.get(key), library.groups.get(key, {}) if groups else {}
        found: Iterable[str] = names or (entry.words if entry else ())
        if entry and any(kind.text == "true or false" for kind in entry.kinds):
            found = ("true", "false")
        return [current[: len(current) - len(last)] + name for name in _starting(found, last)]
    return _keys([*entries], current) + (_starting((f"{name}=" for name in library.groups), key) if groups else [])


def _keys(keys: Iterable[str], current: str) -> list[str]:
    """Keys that start so, as far as the next dot: a section first, its keys when it is typed."""
    found = {}
    for key in keys:
        if key.startswith(current):
            rest = key[len(current) :]
            head, dot, _ = rest.partition(".")
            found[current + head + (dot or "=")] = True
    return list(found)


def _chosen(library: Library, words: Sequence[str]) -> list[Option]:
    """The options that `words` choose, else the data's default backbone, else the defaults of the primary config."""
    choices = _defaults(library.primary[PRIMARY])
    typed = {group: name for group, sign, name in (word.partition("=") for word in words) if sign}
    choices.update({group: name for group, name in typed.items() if group in library.groups})
    for option in library.chosen({"data": choices.get("data", "")}):
        choices = {**choices, **_defaults(option), **{group: typed[group] for group in typed if group in choices}}
    return library.chosen(choices)


def _defaults(option: Option) -> dict[str, str]:
    return {group: name for group, name in option.defaults if "optional" not in group}


def _config_dir(words: Sequence[str]) -> Path | None:
    for flag, value in pairwise(words):
        if flag in ("--config-dir", "-cd") and Path(value).expanduser().is_dir():
            return Path(value)
    return None


def _starting(names: Iterable[str], start: str) -> list[str]:
    return sorted(name for name in names if name.startswith(start))
