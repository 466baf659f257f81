"""Every value of a composed config in its proper type, and every problem with it, found before torch is imported."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from metamtl.config.hints import did_you_mean, nearest_key
from metamtl.config.keys import CANDIDATES, CHOOSE, Keys
from metamtl.config.library import Option
from metamtl.config.schema import Entry, MismatchError
from metamtl.config.stages import OWN, SECTION, trainer_key
from metamtl.config.tasks import impossible_tasks

_LOOKED_INTO = (SECTION, CANDIDATES)  # maps whose keys are checked too


def settle(
    config: Mapping[str, Any], keys: Keys, typed: Collection[str] = (), added: Collection[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """`config` (resolved, plain) with proper types, and its problems, one sentence each.

    `typed`: keys that the user wrote on the command line. `added`: those of them with a `+`, which metamtl has to know
    all the same, as a misspelt one would be without effect. A key that a recipe meant for another option
    (`backbone.width` where the user took a backbone without one) is left out.
    """
    problems: list[str] = []
    settled = _section(config, "", keys, typed, added, problems)
    present = _paths(settled)
    wrong = {problem.partition(":")[0].partition("=")[0] for problem in problems}
    for key in sorted(keys.required - present):
        if not any(_within(key, path) for path in wrong):
            problems.append(f"{key} is missing: it takes {keys.entries[key].wanted()}.")
    data = keys.option("data")
    if data is not None and not problems:
        problems += impossible_tasks(settled, data)
    return settled, problems


def unknown(path: str, keys: Keys, groups: Collection[str] = ()) -> str:
    """The sentence that says a key is unknown, and the nearest that is known."""
    if path in keys.elsewhere:
        return f"{path}: not a key of the options chosen; {_that_have_it(keys.elsewhere[path])}"
    if below := keys.under(trainer_key(path) or path):
        return f"{path}: a section, not a key; it has {', '.join(below)}."
    if path.startswith(f"{SECTION}."):
        return _unknown_of_stage(path, keys)
    if path.startswith(CHOOSE):
        own = [f"{CHOOSE}{key.removeprefix('algo.')}" for key in keys.entries if key.startswith("algo.")]
        return f"{path}: no such key of algo{did_you_mean(nearest_key(path, own))}"
    hint = nearest_key(path, [*keys.entries, *keys.sections, *groups])
    if hint is None and path.partition(".")[0] in keys.sections:
        known = keys.under(path.rpartition(".")[0])
        return f"{path}: no such key" + (f"; there are {', '.join(known)}." if known else ".")
    return f"{path}: no such key{did_you_mean(hint)}"


def _that_have_it(options: Sequence[Option]) -> str:
    """Which options have a key; of several a person takes one by what `list` says of it."""
    groups: dict[str, list[str]] = {}
    for option in options:
        groups.setdefault(option.group, []).append(option.name)
    listed = [
        f"{group}={' or '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}" for group, names in groups.items()
    ]
    if len(options) == 1:
        return f"{listed[0]} has it."
    return f"{' or '.join(listed)} has it: choose one (`metamtl list {min(groups)}` says what each is)."


def _unknown_of_stage(path: str, keys: Keys) -> str:
    own = [key for key in keys.entries if key.split(".")[0] == "trainer" and key.split(".")[1] in OWN]
    stage, _, key = path.removeprefix(f"{SECTION}.").partition(".")
    if not key:
        return f"{path}: a section, not a key; write {path}.steps=..."
    if f"trainer.{key}" in keys.entries:
        return f"{path}: all stages share trainer.{key}; a stage may have {', '.join(OWN)} of its own."
    found = nearest_key(f"trainer.{key}", own)
    return f"{path}: no such key{did_you_mean(found and found.replace('trainer', f'{SECTION}.{stage}', 1))}"


def not_as_wanted(path: str, value: Any, entry: Entry | None, error: MismatchError) -> str:
    """The sentence that says a value is not of its key's type."""
    wanted = str(error) or (entry.wanted() if entry else "something else")
    return f"{path}={show(value)}: must be {wanted}" + ("" if wanted.endswith("?") else ".")


def show(value: Any) -> str:
    """A value as one writes it on the command line."""
    return value if isinstance(value, str) else json.dumps(value)


def _section(
    node: Mapping[str, Any],
    prefix: str,
    keys: Keys,
    typed: Collection[str],
    added: Collection[str],
    problems: list[str],
) -> dict[str, Any]:
    settled: dict[str, Any] = {}
    for name, value in node.items():
        path = f"{prefix}{name}"
        entry = keys.find(path)
        if entry is not None and not (path in _LOOKED_INTO and value):
            try:
                settled[name] = entry.read(value)
            except MismatchError as error:
                problems.append(not_as_wanted(path, value, entry, error))
        elif not prefix and name not in keys.sections and (own := [key for key in added if _within(key, path)]):
            problems += [f"{unknown(key, keys)} What is to be kept and not used goes to note.{key}." for key in own]
        elif name == "about":  # of a folder that Hydra opened by another road (pkg://)
            continue
        elif isinstance(value, Mapping) and (prefix or name in keys.sections):
            settled[name] = _section(value, f"{path}.", keys, typed, added, problems)
        elif path in typed or path not in keys.elsewhere:
            problems.append(unknown(path, keys))
    return settled


def _within(key: str, path: str) -> bool:
    return key == path or key.startswith(f"{path}.")


def _paths(node: Mapping[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for name, value in node.items():
        found.add(f"{prefix}{name}")
        if isinstance(value, Mapping):
            found |= _paths(value, f"{prefix}{name}.")
    return found
