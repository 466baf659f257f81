"""Several families in one run: each is composed as a run of its own, with what the user typed for all of them.

    families:
      letters: {data: omniglot}
      objects: {data: cifar_fs, algo: anil, set: {task: {shots: 5}}}

`data` and `algo` name options (`algo` is the run's where it is left out) and `set` holds keys that the family has of
its own; what an experiment's file says of the backbone, tasks and batches holds for all of its families, and what is
typed of the data for those whose data is the run's. What a family
draws and learns with (data, task, algo, backbone, trainer.task, trainer.meta_batch, trainer.batch_size) comes from its
own config; how the run goes (all other keys) from the run's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from metamtl.config.hints import did_you_mean, nearest
from metamtl.errors import UsageError

OWN_KEYS = ("data", "algo", "set")
OWN_SECTIONS = ("data", "task", "algo", "backbone")
OWN_TRAINER = ("task", "meta_batch", "batch_size")
_FOR_ALL = ("algo", "backbone", "task", "trainer", "eval", "seed", "engine", "paths")

Compose = Callable[[Sequence[str]], dict[str, Any]]


def compose_families(
    families: Any, algo: str, typed: Sequence[str], compose: Compose, data: str | None = None
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Each family with its complete config under `config`, and a sentence for every problem.

    `algo` and `data` are the options of the run; `typed` are the overrides that the user wrote. What these say of the
    data is for the families whose data is the run's.
    """
    problems: list[str] = [] if data is None else _typed_in_vain(families, typed, data)
    composed: dict[str, dict[str, Any]] = {}
    for name, spec in families.items():
        found = _misspelt(name, spec)
        problems += found
        if found:
            continue
        overrides = [
            *(text for text in typed if _for_all(text)),
            f"algo={spec.get('algo') or algo}",
            f"data={spec['data']}",
            *(text for text in typed if spec["data"] == data and _parted(text)[0].startswith("data.")),
            *flattened(spec.get("set") or {}),
        ]
        try:
            composed[name] = {**spec, "config": compose(overrides)}
        except UsageError as error:
            problems += [f"families.{name}: {problem}" for problem in error.problems]
    return composed, problems


def of_experiment(raw: Mapping[str, Any], typed: Sequence[str]) -> list[str]:
    """What an experiment's file says of the backbone, tasks and batches of all its families, as overrides.

    Its keys of a backbone are left out where the user typed another.
    """
    said = {section: raw[section] for section in ("backbone", "task") if isinstance(raw.get(section), Mapping)}
    if any(text.startswith("backbone=") for text in typed):
        said.pop("backbone", None)
    trainer = {key: value for key, value in (raw.get("trainer") or {}).items() if key in OWN_TRAINER}
    return list(flattened({**said, **({"trainer": trainer} if trainer else {})}))


def family_config(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The config that a family of a run is built and tested with."""
    own = config["families"][name]["config"]
    trainer = {**config["trainer"], **{key: own["trainer"][key] for key in OWN_TRAINER}}
    return {**config, **{section: own[section] for section in OWN_SECTIONS}, "trainer": trainer, "families": {}}


def _typed_in_vain(families: Mapping[str, Any], typed: Sequence[str], data: str) -> list[str]:
    """A sentence for each key of the data that no family takes, as each has other data or another value under `set`.

    One sentence where no family has the data that was typed.
    """
    specs = {name: spec for name, spec in families.items() if not _misspelt(name, spec)}
    is_typed = ("data", data) in map(_parted, typed)
    if specs and is_typed and all(spec["data"] != data for spec in specs.values()):
        others = " ".join(f"families.{name}.data={data}" for name in specs)
        has = ", ".join(f"{name} has {spec['data']}" for name, spec in specs.items())
        return [f"data={data}: no family takes it ({has}): type {others}, or those of them that you mean."]
    own = [dict(map(_parted, flattened(spec.get("set") or {}))) for spec in specs.values() if spec["data"] == data]
    return [
        f"{key}={value}: no family takes it, as each has other data or a value of its own under set: type "
        f"families.{next(iter(specs))}.set.{key}={value} and its like."
        for key, value in map(_parted, typed)
        if specs and key.startswith("data.") and all(one.get(key, value) != value for one in own)
    ]


def _parted(text: str) -> tuple[str, str]:
    """The key and the value of an override, without what may stand around them."""
    key, _, value = text.lstrip("+~").partition("=")
    return key, value.strip("\"'")


def _misspelt(name: str, spec: Any) -> list[str]:
    if not isinstance(spec, Mapping) or not isinstance(spec.get("data"), str):
        return [f"families.{name}: must name its data, as families.{name}.data=omniglot."]
    if name in ("train", "test", "val") or not name.replace("_", "").isalnum():
        return [f"families.{name}: choose a name of letters, digits and _, and none of train, val and test."]
    return [
        f"families.{name}.{key}: no such key{did_you_mean(nearest(key, OWN_KEYS))} There are {', '.join(OWN_KEYS)}."
        for key in spec
        if key not in OWN_KEYS
    ]


def _for_all(text: str) -> bool:
    key = text.lstrip("+~").partition("=")[0]
    return key.partition(".")[0] in _FOR_ALL and key != "algo"


def flattened(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """A nested mapping as overrides; a text at the top names an option of that group."""
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={json.dumps(value)}"
