"""Composed configs of several families, made once for many tests, and variations of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from metamtl.config.compose import compose
from metamtl.families import Families, build_families
from metamtl.opening import open_sources
from metamtl.runs.folder import RunFolder
from metamtl.trainer.run import train_run
from tests.multitask.bowls import OPTIONS
from tests.multitask.test_families import DIGITS, WAVES

Config = dict[str, Any]
FEW: Config = {"episodes": 8, "val_episodes": 4, "gap_episodes": 0}


@cache
def _composed(name: str) -> Config:
    return compose({"waves": WAVES, "digits": DIGITS}[name])


def config_of(name: str, **sections: Mapping[str, Any]) -> Config:
    """The config `waves` or `digits` with some keys of sections changed; `weighting={"name": ...}` takes an option."""
    config = dict(_composed(name))
    for section, keys in sections.items():
        base = OPTIONS[keys["name"]].raw if section == "weighting" else config[section]
        config[section] = {**base, **keys}
    return config


def families_of(name: str, **sections: Mapping[str, Any]) -> Families:
    """The objects of `config_of`."""
    config = config_of(name, **sections)
    return build_families(config, open_sources(config))


def short(steps: int, log_every: int = 10, **sections: Mapping[str, Any]) -> Config:
    """The config of a short run on waves."""
    config = config_of("waves", eval=FEW, **sections)
    config["trainer"] = {**config["trainer"], "steps": steps, "validate_every": 2, "log_every": log_every}
    config["trainer"]["schedule"] = {**config["trainer"]["schedule"], "name": "constant"}
    return config


def trained(outputs: Path, steps: int, log_every: int = 10, **sections: Mapping[str, Any]) -> RunFolder:
    """That run, alone in `outputs`."""
    run = train_run(short(steps, log_every, paths={"outputs": str(outputs)}, **sections), ["metamtl"])
    assert run is not None
    return run
