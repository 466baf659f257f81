"""The figures of one group: its mean with both intervals, its validation and what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from metamtl.comparison.delta import worse_together
from metamtl.comparison.groups import Group
from metamtl.comparison.record import RunRecord
from metamtl.comparison.statistics import Figures, over_episodes, over_seeds
from metamtl.errors import MetamtlError
from metamtl.runs.result import Result, share


@dataclass(frozen=True)
class Cost:
    """Means over a group's seeds: outer updates, seconds of training, tasks a second, parameters; NaN if unknown.

    `step_ms` is the median over seeds of an update's mean time in milliseconds.
    """

    steps: float
    seconds: float
    tasks_per_second: float
    parameters: float
    step_ms: float


@dataclass(frozen=True)
class Harm:
    """Negative transfer: the `rate` of the `pairs` (family, seed) that are worse together than alone.

    [`low`, `high`] is its 95% Wilson interval, as if pairs were independent.
    """

    rate: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class GroupFigures:
    """One metric of one group on its test episodes.

    `seed_interval` is the half width of the 95% t interval over seeds: what training again would change.
    `episode_interval` is 1.96 sd / sqrt(n) over episodes, of each the mean over seeds: what other tasks would change.
    `validation` is the mean over seeds of the figure at the selected step. NaN stands for what is not known.
    """

    mean: float
    seed_interval: float
    episode_interval: float
    seeds: int
    episodes: int
    validation: float


def figures_of(group: Group, metric: str) -> GroupFigures:
    """The figures of `group`, of which a counted run at least has the metric."""
    records = [record for record in group.counted if metric in record.figures]
    means = [record.figures[metric]["mean"] for record in records]
    return GroupFigures(
        mean=float(np.mean(means)),
        seed_interval=over_seeds(means),
        episode_interval=_episode_interval(group, records, metric),
        seeds=len(records),
        episodes=records[-1].figures[metric]["episodes"],
        validation=_mean([record.validation(metric) for record in records]),
    )


def cost_of(group: Group) -> Cost:
    """What the counted runs of `group` cost."""
    results = [record.result or Result() for record in group.counted]
    train: list[Mapping[str, Any]] = [result.get("train", {}) for result in results]
    model: list[Mapping[str, Any]] = [result.get("model", {}) for result in results]
    return Cost(
        steps=_mean_of(train, "steps"),
        seconds=_mean_of(train, "seconds"),
        tasks_per_second=_mean_of(train, "tasks_per_second"),
        parameters=_mean_of(model, "parameters"),
        step_ms=_median([float(part.get("step_ms", math.nan)) for part in train]),
    )


def step_ratio(group: Group, beside: Iterable[Group]) -> float:
    """`step_ms` of `group` over that of the one of `beside` that differs by weighting=equal alone: a weighting's cost.

    NaN where there is no such group, or the times are not known.
    """
    rest = _without_weighting(group)
    equal = [one for one in beside if one.settings.get("weighting.name") == "equal" and _without_weighting(one) == rest]
    against = cost_of(equal[0]).step_ms if len(equal) == 1 else 0.0
    return cost_of(group).step_ms / against if against else math.nan  # a run without a step took 0 ms for each


def harm_of(group: Group) -> Harm | None:
    """How often families of `group` are worse together; None where no run was compared with each family alone."""
    worse = [held for record in group.counted for held in worse_together(record.result or Result()).values()]
    return Harm(**share(np.array(worse)), pairs=len(worse)) if worse else None


def episode_means(group: Group, metric: str) -> Figures:
    """The figure [n] of each test episode, the mean over the group's seeds; raises MetamtlError where it is not kept.

    Every counted run of a group met the same episodes.
    """
    columns = [record.episodes(metric) for record in group.counted if metric in record.figures]
    if len({column.size for column in columns}) > 1:
        raise MetamtlError(f"The runs of {group.name} have kept different numbers of episodes.")
    means: Figures = np.mean(columns, axis=0)
    return means


def _episode_interval(group: Group, records: Sequence[RunRecord], metric: str) -> float:
    if len(records) == 1:
        return records[0].figures[metric]["ci95"]
    try:
        return over_episodes(episode_means(group, metric))
    except MetamtlError:
        return math.nan


def _without_weighting(group: Group) -> dict[str, Any]:
    return {key: value for key, value in group.settings.items() if not key.startswith("weighting.")}


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return median(known) if known else math.nan


def _mean_of(parts: Sequence[Mapping[str, Any]], key: str) -> float:
    return _mean([float(part.get(key, math.nan)) for part in parts])


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
