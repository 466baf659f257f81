"""Opens the data of every family of a run, before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metamtl.config.families import family_config
from metamtl.data.identity import digest
from metamtl.data.opening import open_source
from metamtl.data.source import Source
from metamtl.errors import UsageError


def open_sources(config: Mapping[str, Any]) -> dict[str, Source]:
    """The data of every family by the family's name; of a run with one, by the data's own."""
    if not config["families"]:
        source = open_source(config)
        return {source.name: source}
    problems: list[str] = []
    sources: dict[str, Source] = {}
    for name in config["families"]:
        try:
            sources[name] = open_source(family_config(config, name))
        except UsageError as error:
            problems += [f"families.{name}: {problem}" for problem in error.problems]
    if problems:
        raise UsageError(*problems)
    return sources


def fingerprint_of(sources: Mapping[str, Source]) -> str:
    """What identifies the data of a run."""
    if len(sources) == 1:
        return next(iter(sources.values())).fingerprint
    return digest("families", {name: source.fingerprint for name, source in sources.items()})
