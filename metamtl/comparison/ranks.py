"""Mean ranks of groups over families and seeds: one figure where families have metrics of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from metamtl.comparison.comparable import protocol
from metamtl.comparison.groups import Group
from metamtl.comparison.record import RunRecord
from metamtl.runs.metric_names import lower_is_better
from metamtl.runs.result import Result


@dataclass(frozen=True)
class Rank:
    """A group's `mean` rank among the groups beside it, 1 the best, over `families` x `seeds`."""

    mean: float
    families: int
    seeds: int


def mean_ranks(groups: Sequence[Group]) -> dict[Group, Rank]:
    """The ranks of `groups` by the test figure that each family selects by, ties sharing their mean rank.

    They are over the families that all groups have on the same episodes, and the seeds that all have, so that every
    rank is among all groups; a figure that is NaN is left out with its family and seed. {} for fewer than two groups,
    than two such families, and for no such seed.
    """
    if len(groups) < 2:
        return {}
    metrics = _shared_metrics(groups)
    by_seed = [{record.seed: record for record in group.counted} for group in groups]
    seeds = [seed for seed in by_seed[0] if all(seed in known for known in by_seed)]
    cells = {
        (metric, seed): row
        for metric in metrics
        for seed in seeds
        if not any(map(math.isnan, row := [_figure(known[seed], metric) for known in by_seed]))
    }
    families, counted = len({metric for metric, _ in cells}), len({seed for _, seed in cells})
    if families < 2:
        return {}
    ranks = [_ranks(row, lower_is_better(metric)) for (metric, _), row in cells.items()]
    means = [sum(column) / len(column) for column in zip(*ranks, strict=True)]
    return {group: Rank(mean, families, counted) for group, mean in zip(groups, means, strict=True)}


def _shared_metrics(groups: Sequence[Group]) -> list[str]:
    """`family/metric` of each family whose test figures may be set against one another in all groups."""
    families = (groups[0].counted[-1].result or Result()).get("families", {})
    names = [f"{name}/{record['metric']}" for name, record in families.items() if "metric" in record]
    return [
        name
        for name in names
        if all(name in group.counted[-1].figures for group in groups)
        and len({protocol(group, name) for group in groups}) == 1
    ]


def _figure(record: RunRecord, metric: str) -> float:
    return record.figures[metric]["mean"] if metric in record.figures else math.nan


def _ranks(values: Sequence[float], lower: bool) -> list[float]:
    """The rank of each value, 1 the best: one more than are better, and half as many more as are equal to it."""
    signed = values if lower else [-value for value in values]
    return [sum(other < own for other in signed) + (signed.count(own) + 1) / 2 for own in signed]
