"""A plain, resolved and checked config from overrides; and overrides merged over a finished run's config.

Precedence is the order of the defaults list in conf/train.yaml: trainer and eval, algo, data (which names its default
backbone), the recipe for the pair, experiment, and last what the user types.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from metamtl.config import overrides as lines
from metamtl.config.candidates import left_to_choose
from metamtl.config.checks import not_as_wanted, settle, unknown
from metamtl.config.families import compose_families, of_experiment
from metamtl.config.keys import CANDIDATES, Keys, keys_of
from metamtl.config.library import Library
from metamtl.config.loading import REFUSALS, as_sentence, hydra_at, load, plain_of
from metamtl.config.names import wrong_names
from metamtl.config.schema import Entry, MismatchError
from metamtl.config.sequence import stage_configs
from metamtl.config.single import without_effect
from metamtl.config.tasks import impossible_tasks
from metamtl.errors import UsageError

_ABSENT: Any = object()


def compose(overrides: Sequence[str] = (), config_dir: Path | None = None) -> dict[str, Any]:
    """The config of one run; raises UsageError with every problem."""
    return plan(overrides, config_dir).config


@dataclass(frozen=True)
class Plan:
    """What a checked command will do: the config of its first job, whether it is a multirun, and what launches it."""

    config: dict[str, Any]
    multirun: bool
    launcher: str


def plan(overrides: Sequence[str], config_dir: Path | None = None, multirun: bool = False) -> Plan:
    """Check a run, or each value of a sweep; raises UsageError with every problem."""
    library = Library.load(config_dir)
    parsed, problems = lines.parse(overrides)
    multirun = multirun or any(line.key_or_group == "hydra.mode" and line.value() == "MULTIRUN" for line in parsed)
    if not multirun:
        problems += [_needs_multirun(override) for override in parsed if override.is_sweep_override()]
        parsed = [override for override in parsed if not override.is_sweep_override()]
    with hydra_at(config_dir):
        first, *others = lines.expand(parsed, library)
        job = _attempt(first, library)
        problems += job.problems
        for texts in others:
            problems += _variant(job, first, texts, library)
        launcher = job.choices.get("hydra/launcher", "")
        try:  # a reference is followed only when it is read
            mode = HydraConfig.get().mode if job.choices else None
        except OmegaConfBaseException:
            problems.append("hydra.mode: it must be RUN or MULTIRUN.")
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    return Plan(job.config, multirun or mode is RunMode.MULTIRUN, launcher)


def settle_job(
    config: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str], library: Library
) -> tuple[dict[str, Any], list[str]]:
    """The plain, resolved, typed config of one job that Hydra composed, less its `hydra` section; and its problems."""
    config = copy.deepcopy(config)
    families: dict[str, Any] = {}
    if isinstance(named := config.get("families"), DictConfig):  # what is no mapping is refused with all other values
        families = plain_of(named, resolve=True)
        with open_dict(config):
            config.families = {}
    settled, problems = _settle(config, choices, overrides, library)
    problems += without_effect(plain_of(config, resolve=False), families)
    if families and not problems:
        algo = str(choices.get("algo", settled["algo"]["name"]))
        experiment = library.groups["experiment"].get(str(choices.get("experiment")))
        texts = [*(of_experiment(experiment.raw, overrides) if experiment else ()), *overrides]
        families, problems = compose_families(
            families, algo, texts, lambda texts: compose(texts, library.user), str(choices.get("data"))
        )
    settled = {**settled, "families": families}
    spec = settled.get("transfer", {}).get("source")
    if isinstance(spec, Mapping) and not problems:
        algo = str(settled["algo"]["name"])
        found, problems = compose_families(
            {"source": spec}, algo, overrides, lambda texts: compose(texts, library.user)
        )
        problems = [problem.replace("families.source", "transfer.source", 1) for problem in problems]
        settled["transfer"] = {**settled["transfer"], **found}
    return settled, problems or _wrong_stages(settled)


def _wrong_stages(config: Mapping[str, Any]) -> list[str]:
    try:
        stage_configs(config, merge)
    except UsageError as error:
        return list(error.problems)
    return []


def _settle(
    config: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str], library: Library
) -> tuple[dict[str, Any], list[str]]:
    parsed, _ = lines.parse(overrides)
    typed = [override.key_or_group for override in parsed]
    added = [override.key_or_group for override in parsed if override.is_add() or override.is_force_add()]
    try:
        if missing := sorted(OmegaConf.missing_keys(config)):
            return {}, [f"{key} must be given: {key}=VALUE." for key in missing]
        plain = plain_of(config, resolve=True)
    except OmegaConfBaseException as error:
        # A wrong value elsewhere may be why ${...} leads nowhere; then that is what to say.
        plain = plain_of(config, resolve=False)
        found = settle(plain, keys_of(library, plain, choices), typed, added)[1]
        return {}, [problem for problem in found if "${" not in problem] or [as_sentence(error)]
    keys = keys_of(library, plain, choices)
    settled, problems = settle(plain, keys, typed, added)
    problems += wrong_names(plain, keys, library, typed)
    return settled if problems else left_to_choose(settled, parsed), problems


def merge(config: Mapping[str, Any], overrides: Sequence[str], allowed: Collection[str]) -> dict[str, Any]:
    """`config` (a finished run's) with `overrides`, each a plain `key=value` under one of the `allowed` key prefixes.

    Raises UsageError with every problem.
    """
    library = Library.load()
    parsed, problems = lines.parse(overrides)
    keys = keys_of(library, config)
    merged = copy.deepcopy(dict(config))
    for override in parsed:
        problem = _refused(override, allowed, keys) or _put(merged, override, keys)
        problems += [problem] if problem else []
    data = keys.option("data")
    if data is not None and not problems:
        problems += impossible_tasks(merged, data)
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    return left_to_choose(merged, parsed)


@dataclass(frozen=True)
class _Attempt:
    """One job as far as it could be composed: `composed` is None and `choices` empty where Hydra refused it."""

    config: dict[str, Any]
    problems: list[str]
    composed: DictConfig | None = None
    choices: Mapping[str, Any] = field(default_factory=dict)


def _attempt(texts: Sequence[str], library: Library) -> _Attempt:
    """Compose and check one job; where Hydra cannot compose it, tell every reason and not the first alone."""
    try:
        composed, choices = load(texts)
    except REFUSALS as error:
        return _diagnose(lines.parse(texts)[0], library, as_sentence(error))
    return _Attempt(*settle_job(composed, choices, texts, library), composed, choices)


def _variant(first: _Attempt, base: Sequence[str], texts: Sequence[str], library: Library) -> list[str]:
    """The problems of another job of the sweep, which is composed anew only if a mere value is not all that differs."""
    changed = lines.parse([text for text, old in zip(texts, base, strict=True) if text != old])[0]
    if first.composed is None or not all(lines.is_plain_value(override, library) for override in changed):
        return _attempt(texts, library).problems
    composed = copy.deepcopy(first.composed)
    for override in changed:
        if OmegaConf.select(composed, override.key_or_group, default=_ABSENT) is not _ABSENT:
            OmegaConf.update(composed, override.key_or_group, override.value(), merge=True)
    return settle_job(composed, first.choices, texts, library)[1]


def _diagnose(parsed: Sequence[Override], library: Library, refusal: str) -> _Attempt:
    """Leave out what is wrong, kind by kind, and say of each what it is; what is left may be composed."""
    problems: list[str] = []
    good: list[str] = []
    unsure: set[str] = set()  # groups whose option is itself wrong: nothing can be said of their keys
    options = [override for override in parsed if lines.is_group(override, library)]
    for override in options:
        if wrong := lines.wrong_options(override, library):
            problems += wrong
            unsure.add(override.key_or_group)
        else:
            good.append(override.input_line or "")
    try:
        composed, choices = load(good)
        for override in parsed:
            if override in options or override.key_or_group.partition(".")[0] in unsure:
                continue
            if reason := _wrong_key(override, composed, choices, library):
                problems.append(reason)
            else:
                good.append(override.input_line or "")
        composed, choices = load(good)
    except REFUSALS as error:
        return _Attempt({}, [*problems, as_sentence(error)])
    # the experiment or data that was meant may bring families
    idle = without_effect(plain_of(composed, resolve=False), {}) if unsure & {"experiment", "data"} else []
    problems += [problem for problem in settle_job(composed, choices, good, library)[1] if problem not in idle]
    return _Attempt({}, problems or [refusal], composed, choices)


def _wrong_key(override: Override, composed: DictConfig, choices: Mapping[str, Any], library: Library) -> str | None:
    """Why Hydra cannot set this key, or None."""
    key = override.key_or_group
    if override.is_add() or override.is_force_add() or override.is_hydra_override():
        return None
    if OmegaConf.select(composed, key, default=_ABSENT) is not _ABSENT:
        return None
    keys = keys_of(library, plain_of(composed, resolve=False), choices)
    if any(entry.is_map and key.startswith(f"{path}.") for path, entry in keys.entries.items()):
        return None  # a key of a map is new
    return unknown(key, keys, library.groups)


def _needs_multirun(override: Override) -> str:
    key, text = override.key_or_group, override.get_value_string()
    return f"{override.input_line}: several values; add -m to run each, or write '{key}=[{text}]' for a list."


def _refused(override: Override, allowed: Collection[str], keys: Keys) -> str | None:
    key = override.key_or_group
    if override.is_sweep_override() or override.is_add() or override.is_force_add() or override.is_delete():
        return f"{override.input_line}: only a plain key=value can change a finished run."
    misspelt = key.partition(".")[0] not in keys.sections
    if not misspelt and not any(key == prefix or key.startswith(f"{prefix}.") for prefix in allowed):
        return f"{key} is settled when a run starts; here you can set {', '.join(sorted(allowed))}."
    return None


def _put(config: dict[str, Any], override: Override, keys: Keys) -> str | None:
    """Set the value in place, in its proper type; returns what is wrong with it."""
    key, entry, node = override.key_or_group, keys.find(override.key_or_group), config
    *sections, name = key.split(".")
    for section in sections:
        node = node.get(section, {}) if isinstance(node, dict) else {}
    if not isinstance(node, dict) or name not in node or (entry is None and isinstance(node[name], dict)):
        return unknown(key, keys)
    value = override.value()
    if key != CANDIDATES or not isinstance(value, Mapping):
        return _put_value(node, name, value, key, entry)
    node[name] = {}
    for option, values in value.items():
        path = f"{key}.{option}"
        of_option = keys.find(path)
        if of_option is None and option not in config["algo"]:
            return unknown(path, keys)
        if problem := _put_value(node[name], str(option), values, path, of_option):
            return problem
    return None


def _put_value(node: dict[str, Any], name: str, value: Any, key: str, entry: Entry | None) -> str | None:
    try:
        node[name] = entry.read(value) if entry else value
    except MismatchError as error:
        return not_as_wanted(key, value, entry, error)
    return None
