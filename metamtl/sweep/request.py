"""What a sweep was asked for: read from the command line, checked with all its problems at once, kept in sweep.yaml."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metamtl.config import overrides as lines
from metamtl.config.checks import not_as_wanted
from metamtl.config.compose import plan
from metamtl.config.hints import did_you_mean, nearest
from metamtl.config.library import Library
from metamtl.config.schema import Entry, MismatchError
from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.config_file import read_config, write_config
from metamtl.runs.redact import redact_command, redact_text
from metamtl.sweep.space import Dimension, read_space

FILE = "sweep.yaml"
# a continued sweep may be longer, and go on elsewhere; how it searches was settled when it began
CHANGEABLE = ("trials", "workers", "devices", "storage", "seeds", "winners", "failures", "jobs", "cluster", "slurm")
# trials are compared on the same validation episodes, and the seed is what winners are run again with
_SETTLED = ("task", "eval", "data", "seed", "paths", "logger", "label", "experiment", "recipe")
_USER = re.compile(r"(?<=://)[^\s/@:]+(?=@)")
_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class Request:
    """A sweep. `overrides`: those of `metamtl train`; `space`: key -> expression; `options`: the section `sweep`."""

    overrides: list[str]
    space: dict[str, str]
    options: dict[str, Any]
    directory: str  # where the command was given, which relative paths start from
    config_dir: str | None = None
    # of the first trial's config
    outputs: str = "outputs"
    seed: int = 0
    steps: int = 0
    validate_every: int = 1
    # what validation measures, and whether more is better: known once the parts of a run have been built
    metric: str = ""
    higher_is_better: bool = False

    @property
    def dimensions(self) -> dict[str, Dimension]:
        """The space, read."""
        return read_space(self.space)

    def essence(self) -> dict[str, Any]:
        """What must be equal in all commands that share a study."""
        paths = [text for text in self.overrides if not text.startswith("paths.")]
        searched = {key: self.options[key] for key in ("sampler", "pruner", "warmup", "seed", "metric", "direction")}
        return {"overrides": paths, "space": self.space, **searched}

    def save(self, folder: Path) -> None:
        """Writes sweep.yaml; an address of the storage that holds a password is hidden.

        Jobs are submitted when a command says so, not whenever the sweep goes on.
        """
        options = {**self.options, "storage": _without_password(self.options["storage"]), "jobs": 0}
        write_config(folder / FILE, dataclasses.asdict(dataclasses.replace(self, options=options)), shared=True)

    @classmethod
    def load(cls, folder: Path) -> Request:
        """The request of the sweep in `folder`; MetamtlError where there is none."""
        if not (folder / FILE).is_file():
            raise MetamtlError(f"{folder} is not a sweep: it has no {FILE}.")
        return cls(**read_config(folder / FILE))


def read_request(words: Sequence[str], config_dir: Path | None) -> tuple[Request, dict[str, Any]]:
    """The request of a new sweep and the config of its first trial; raises UsageError with every problem."""
    train, space, own = _sorted_words(words)
    options, problems = _options(own)
    problems += _refused_words(train, space)
    dimensions: dict[str, Dimension] = {}
    for key, text in space.items():
        try:
            dimensions.update(read_space({key: text}))
        except UsageError as error:
            problems += error.problems
    problems += [] if space else ['Nothing to search: give a space, as space.algo.inner_lr="log(1e-3,1)".']
    tried = [f"{key}={','.join(dimension.extremes())}" for key, dimension in dimensions.items()]
    config: dict[str, Any] = {}
    try:
        config = plan([*train, *tried], config_dir, multirun=True).config
    except UsageError as error:
        problems += error.problems
    if options.get("pruner") == "hyperband":
        problems += _refused_by_hyperband(space)
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    folder = str(config_dir.expanduser().absolute()) if config_dir else None
    trainer = config["trainer"]
    facts = (config["paths"]["outputs"], config["seed"], trainer["steps"], trainer["validate_every"])
    return Request(train, space, options, str(Path.cwd()), folder, *facts), config


def changed(request: Request, words: Sequence[str]) -> Request:
    """The request of a continued sweep with `words`, each a `sweep.KEY=VALUE` that may change."""
    train, space, own = _sorted_words(words)
    problems = [f"{text}: a sweep that goes on keeps its config." for text in train]
    problems += [f"space.{key}: a sweep that goes on keeps its space." for key in space]
    settled = [text.partition("=")[0].removeprefix("sweep.") for text in own]
    wrong = [key for key in settled if key not in CHANGEABLE and key in request.options]
    problems += [f"sweep.{key} was settled when the sweep began; {_changeable()} can change." for key in wrong]
    options, found = _options(own, request.options)
    if problems or found:
        raise UsageError(*problems, *found)
    return dataclasses.replace(request, options=options)


def _without_password(storage: str | None) -> str | None:
    bare = _USER.sub("", storage or "")  # a name without a password is no secret
    return storage if redact_text(bare) == bare else redact_text(storage or "")


def _changeable() -> str:
    return ", ".join(f"sweep.{key}" for key in CHANGEABLE)


def _sorted_words(words: Sequence[str]) -> tuple[list[str], dict[str, str], list[str]]:
    """Overrides of a run, expressions of the space by key, and overrides of the sweep."""
    space = {key[6:]: text for key, _, text in (word.partition("=") for word in words) if key.startswith("space.")}
    own = [word for word in words if word.startswith("sweep.")]
    return [word for word in words if not word.startswith(("space.", "sweep."))], space, own


def _options(texts: Sequence[str], base: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """The section `sweep` with `texts` put in, in proper types; and what is wrong with them."""
    option = Library.load().primary["sweep"]
    options = dict(base or option.raw["sweep"])
    parsed, problems = lines.parse(texts)
    for override in parsed:
        key = override.key_or_group
        entry, name = option.entries.get(key), key.removeprefix("sweep.")
        if entry is None:
            problems.append(f"{key}: no such key{did_you_mean(nearest(key, option.entries))}")
        elif override.is_sweep_override():
            problems.append(f"{override.input_line}: takes one value, {entry.wanted()}.")
        else:
            problems += _put(options, name, key, override.value(), entry)
    wrong = [name for name in options["devices"] or [] if not _DEVICE.fullmatch(name)]
    problems += [f"sweep.devices: there is no device {name}; write cpu, mps, cuda or cuda:0." for name in wrong]
    return options, problems


def _put(options: dict[str, Any], name: str, key: str, value: Any, entry: Entry) -> list[str]:
    try:
        options[name] = entry.read(value)
    except MismatchError as error:
        return [not_as_wanted(key, value, entry, error)]
    return []


def _refused_words(train: Sequence[str], space: Mapping[str, str]) -> list[str]:
    parsed, _ = lines.parse(train)  # what cannot be read is told with the rest
    given = {override.key_or_group for override in parsed}
    problems = [f"{key} is both given and searched: leave out one of the two." for key in space if key in given]
    problems += [
        f"{text.partition('=')[0]}: a sweep keeps its overrides in files; give what is secret by the environment."
        for text in train
        if redact_command([text]) != [text]
    ]
    for override in parsed:
        if override.is_sweep_override():
            key, text = override.key_or_group, override.get_value_string()
            problems.append(f"{override.input_line}: several values; write 'space.{key}=choice({text})'.")
        if override.is_hydra_override() or override.key_or_group.startswith("hydra/"):
            problems.append(f"{override.input_line}: a sweep is not launched by Hydra; see sweep.workers, sweep.jobs.")
    return problems + [
        f"space.{key}: trials must be validated on the same episodes, and differ in what is learnt alone; "
        f"{key.partition('.')[0]} is given, not searched."
        for key in space
        if key.partition(".")[0] in _SETTLED
    ]


def _refused_by_hyperband(space: Mapping[str, str]) -> list[str]:
    wrong = [key for key in space if key in ("trainer.steps", "trainer.validate_every")]
    return [f"space.{key}: sweep.pruner=hyperband needs the same {key} in every trial." for key in wrong]
