"""A run over stages that are learnt one after another, each an ordinary run that begins where the one before ended.

    sequence:
      - {data: {digits: [0, 1]}}
      - {data: {digits: [2, 3]}}

A stage holds the keys that it has of its own, of `data` and `trainer`; all others are the run's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from metamtl.config.families import flattened
from metamtl.errors import UsageError

OWN = ("data", "trainer")

Merge = Callable[[Mapping[str, Any], Sequence[str], Collection[str]], dict[str, Any]]


def stage_configs(config: Mapping[str, Any], merge: Merge) -> list[dict[str, Any]]:
    """The config of each stage, without what strategy carries the stage before; UsageError with every problem."""
    problems: list[str] = []
    stages = []
    for number, own in enumerate(config["sequence"], start=1):
        try:
            stages.append({**merge(config, list(flattened(own)), OWN), "sequence": [], "references": "none"})
        except UsageError as error:
            problems += [f"sequence, stage {number}: {problem}" for problem in error.problems]
    if config["sequence"] and config["families"]:
        problems.append("sequence: its stages have one family each; leave families={}.")
    if problems:
        raise UsageError(*problems)
    return stages


def stage_name(own: Mapping[str, Any]) -> str:
    """A short name of a stage from the keys that it has of its own: `digits=[0, 1]`."""
    return ", ".join(text.partition(".")[2] or text for text in flattened(own)) or "the run's own"


def refuse_sequence(config: Mapping[str, Any]) -> None:
    """UsageError where stages in sequence are asked for together with what they do not go with."""
    if not config["sequence"]:
        return
    if "RANK" in os.environ:
        raise UsageError("sequence does not go with torchrun: run it in one process.")
    if config["references"] == "auto":
        raise UsageError(
            "references=auto compares families or a source; a sequence has neither: leave references=none."
        )
    if config["transfer"].get("source"):
        raise UsageError("transfer.source: a stage of a sequence has the one before as its source; leave it out.")
