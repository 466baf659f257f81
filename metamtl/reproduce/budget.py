"""From a budget of time to numbers of updates: a schedule has to know its end, and a command has to be repeatable.

What a row's updates cost is measured once, by a run of a few updates in a process of its own; the lengths that follow
are written into the row's command, which then gives the same figures on any machine.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.metrics import read

UPDATES = 6  # of each stage; the first is left out, as it warms caches up
VALIDATIONS = 5  # of a shortened run
CALIBRATING = (
    "trainer.log_every=1",
    "trainer.validate_every=1000000",
    "trainer.checkpoint_every=1000000",
    "eval.val_episodes=2",
    "eval.episodes=2",
    "eval.gap_episodes=0",
)
_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Plan:
    """How long a row is to train: `share` of its recipe, by these overrides."""

    share: float
    overrides: tuple[str, ...]


def seconds_of(text: str) -> float:
    """`90m`, `1.5h`, `1h30m` or `45s` in seconds; UsageError for anything else."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"--budget {text}: write a time such as 2h, 90m or 1h30m.")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def calibrating(trainer: Mapping[str, Any]) -> list[str]:
    """The overrides of the measuring run of a config whose section `trainer` is given."""
    stages = [f"++trainer.stages.{name}.steps={UPDATES}" for name in trainer["stages"]]
    return [f"trainer.steps={UPDATES}", *stages, *CALIBRATING]


def seconds_per_update(run: Path) -> list[float]:
    """What an update of each stage of a measuring run took; [] where nothing is trained."""
    times = [line["time/seconds"] for line in read(run / "metrics.jsonl") if line["split"] == "train"]
    if len(times) % UPDATES:
        raise MetamtlError(f"The measuring run {run} is not whole: remove it and start again.")
    stages = [times[start : start + UPDATES] for start in range(0, len(times), UPDATES)]
    return [statistics.median(b - a for a, b in pairwise(stage)) for stage in stages]


def plan(trainer: Mapping[str, Any], seconds: Sequence[float], budget: float) -> Plan:
    """The lengths that take `budget` seconds of updates, all stages shortened alike; never longer than the recipe's.

    `seconds` are those of an update of each stage.
    """
    named = dict(trainer["stages"])
    own = [stage.get("steps", trainer["steps"]) for stage in named.values()]
    steps = [*own, *[trainer["steps"]] * (len(seconds) - len(own))]
    whole = sum(count * cost for count, cost in zip(steps, seconds, strict=True))
    share = min(1.0, budget / whole) if whole > 0 else 1.0
    if share == 1.0:
        return Plan(1.0, ())
    total = sum(_shortened(count, share) for count in steps)
    lengths = [f"trainer.steps={_shortened(trainer['steps'], share)}"]
    lengths += [
        f"trainer.stages.{name}.steps={_shortened(stage['steps'], share)}"
        for name, stage in named.items()
        if "steps" in stage
    ]
    every = max(1, total // VALIDATIONS)
    saved = [f"trainer.validate_every={every}", f"trainer.checkpoint_every={max(1, every // 4)}"]
    return Plan(share, (*lengths, *_schedule(trainer["schedule"], share), *saved))


def _schedule(schedule: Mapping[str, Any], share: float) -> list[str]:
    """What a schedule counts in updates, shortened with them."""
    found = []
    if schedule["warmup"]:
        found.append(f"trainer.schedule.warmup={_shortened(schedule['warmup'], share)}")
    if schedule["name"] == "step":
        found.append(f"trainer.schedule.every={_shortened(schedule['every'], share)}")
    if schedule["name"] == "milestones":
        found.append(f"trainer.schedule.at=[{','.join(str(_shortened(at, share)) for at in schedule['at'])}]")
    return found


def _shortened(count: int, share: float) -> int:
    return max(1, round(count * share)) if count else 0
