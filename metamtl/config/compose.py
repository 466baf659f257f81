"""A plain, resolved and checked config from overrides; and overrides merged over a finished run's config.

Precedence is the order of the defaults list in conf/train.yaml: trainer and eval, algo, data (which names its default
backbone), the recipe for the pair, experiment, and last what the user types.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from metamtl.config import overrides as lines
from metamtl.config import paths, sources
from metamtl.config.checks import settle, unknown
from metamtl.config.keys import PRIMARY, keys_of
from metamtl.config.library import Library
from metamtl.errors import UsageError

_ABSENT: Any = object()


def compose(overrides: Sequence[str] = (), config_dir: Path | None = None) -> dict[str, Any]:
    """The config of one run; raises UsageError with every problem."""
    library = Library.load(config_dir)
    parsed, problems = lines.parse(overrides)
    with _hydra(config_dir):
        config, found = _attempt([override.input_line or "" for override in parsed], parsed, library)
    if problems or found:
        raise UsageError(*dict.fromkeys([*problems, *found]))
    return config


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
    with _hydra(config_dir):
        jobs = [_attempt(job, lines.parse(job)[0], library) for job in lines.expand(parsed, library)]
        problems += [problem for _, found in jobs for problem in found]
        if problems:
            raise UsageError(*dict.fromkeys(problems))
        composed = HydraConfig.get()
    multirun = multirun or composed.mode is RunMode.MULTIRUN
    return Plan(jobs[0][0], multirun, str(composed.runtime.choices["hydra/launcher"]))


def settle_job(
    config: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str], library: Library
) -> tuple[dict[str, Any], list[str]]:
    """The plain, resolved, typed config of one job that Hydra composed, less its `hydra` section; and its problems."""
    if missing := sorted(OmegaConf.missing_keys(config)):
        return {}, [f"{key} must be given: {key}=VALUE." for key in missing]
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        return {}, [_flat(error)]
    assert isinstance(plain, dict)
    named: dict[str, Any] = {str(key): value for key, value in plain.items()}
    parsed, _ = lines.parse(overrides)
    typed = [override.key_or_group for override in parsed]
    added = [override.key_or_group for override in parsed if override.is_add() or override.is_force_add()]
    return settle(named, keys_of(library, named, choices), typed, added)


def merge(config: Mapping[str, Any], overrides: Sequence[str], allowed: Collection[str]) -> dict[str, Any]:
    """`config` (a finished run's) with `overrides`, each a plain `key=value` under one of the `allowed` key prefixes.

    Raises UsageError with every problem.
    """
    library = Library.load()
    parsed, problems = lines.parse(overrides)
    keys = keys_of(library, config)
    merged = copy.deepcopy(dict(config))
    for override in parsed:
        problem = _refused(override, allowed) or _put(merged, override)
        if problem:
            problems.append(problem if " " in problem else unknown(problem, keys))
    merged, found = settle(merged, keys, [override.key_or_group for override in parsed], list(config))
    if problems or found:
        raise UsageError(*dict.fromkeys([*problems, *found]))
    return merged


@contextmanager
def _hydra(config_dir: Path | None) -> Iterator[None]:
    sources.register()
    with (
        sources.user_folder(config_dir),
        hydra.initialize_config_dir(str(paths.own_folder()), job_name=PRIMARY, version_base=None),
    ):
        yield


def _attempt(texts: Sequence[str], parsed: Sequence[Override], library: Library) -> tuple[dict[str, Any], list[str]]:
    """The config of one job and its problems; where Hydra cannot compose it, every reason and not the first alone."""
    try:
        composed = hydra.compose(PRIMARY, list(texts), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        return {}, _diagnose(texts, parsed, library) or [_flat(error)]
    return _settle(composed, texts, library)


def _settle(composed: DictConfig, texts: Sequence[str], library: Library) -> tuple[dict[str, Any], list[str]]:
    HydraConfig.instance().set_config(composed)
    choices = dict(composed.hydra.runtime.choices)
    with open_dict(composed):
        del composed["hydra"]
    return settle_job(composed, choices, texts, library)


def _diagnose(texts: Sequence[str], parsed: Sequence[Override], library: Library) -> list[str]:
    """Leave out what is wrong, kind by kind, and say of each what it is."""
    problems: list[str] = []
    options = [override for override in parsed if lines.is_group(override, library)]
    good = []
    for override in options:
        wrong = lines.wrong_options(override, library)
        problems += wrong
        good += [] if wrong else [override.input_line or ""]
    try:
        composed = hydra.compose(PRIMARY, good, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        return [*problems, _flat(error)]
    unsure = {override.key_or_group for override in options} - {text.split("=")[0].lstrip("+~") for text in good}
    for override, text in zip(parsed, texts, strict=True):
        if override in options:
            continue
        reason = _wrong_key(override, composed, library, unsure)
        problems += [reason] if reason else []
        good += [] if reason or override.key_or_group.split(".")[0] in unsure else [text]
    try:
        composed = hydra.compose(PRIMARY, good, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        return [*problems, _flat(error)]
    return problems + _settle(composed, good, library)[1]


def _wrong_key(override: Override, composed: DictConfig, library: Library, unsure: Collection[str]) -> str | None:
    """Why Hydra cannot set this key, or None; `unsure` are the sections whose option is itself wrong."""
    key = override.key_or_group
    if override.is_add() or override.is_force_add() or override.is_hydra_override():
        return None
    if key.split(".")[0] in unsure or OmegaConf.select(composed, key, default=_ABSENT) is not _ABSENT:
        return None
    plain = OmegaConf.to_container(composed)
    assert isinstance(plain, dict)
    choices = dict(composed.hydra.runtime.choices)
    keys = keys_of(library, {str(name): value for name, value in plain.items()}, choices)
    if any(entry.is_map and key.startswith(f"{path}.") for path, entry in keys.entries.items()):
        return f"{key}: not there yet; +{override.input_line} adds it."
    return unknown(key, keys, library.groups)


def _needs_multirun(override: Override) -> str:
    key, text = override.key_or_group, override.get_value_string()
    return f"{override.input_line}: several values; add -m to run each, or write '{key}=[{text}]' for a list."


def _refused(override: Override, allowed: Collection[str]) -> str | None:
    key = override.key_or_group
    if override.is_sweep_override() or override.is_add() or override.is_force_add() or override.is_delete():
        return f"{override.input_line}: only a plain key=value can change a finished run."
    if not any(key == prefix or key.startswith(f"{prefix}.") for prefix in allowed):
        return f"{key} is settled when a run starts; here you can set {', '.join(sorted(allowed))}."
    return None


def _put(config: dict[str, Any], override: Override) -> str | None:
    """Set the value in place; the key itself where the config has none such."""
    node: Any = config
    *sections, name = override.key_or_group.split(".")
    for section in sections:
        node = node.get(section) if isinstance(node, dict) else None
    if not isinstance(node, dict) or name not in node:
        return override.key_or_group
    node[name] = override.value()
    return None


def _flat(error: Exception) -> str:
    """An error of Hydra's or OmegaConf's as one sentence."""
    lines_of_it = [line.strip() for line in str(error).splitlines() if line.strip() and "hydra.cc" not in line]
    cause = f" ({' '.join(str(error.__cause__).split())})" if error.__cause__ else ""
    return " ".join(lines_of_it).rstrip(".") + cause + "."
