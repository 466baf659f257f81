"""Groups of one protocol, each with its figures and its test against the baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metamtl.comparison.figures import (
    Cost,
    GroupFigures,
    Harm,
    cost_of,
    episode_means,
    figures_of,
    harm_of,
    step_ratio,
)
from metamtl.comparison.groups import Group
from metamtl.comparison.ranks import Rank, mean_ranks
from metamtl.comparison.statistics import Figures, PairedTest, paired_test
from metamtl.errors import MetamtlError
from metamtl.runs.metric_names import DELTA_M, lower_is_better


@dataclass(frozen=True)
class Row:
    """A group beside the baseline of its section.

    `test` is None for the baseline, where there is none, and where `why_untested` says why the pairs are missing; of
    Delta m its pairs are seeds, otherwise test episodes. `rank` is among the section's groups, `harm` is negative
    transfer, both of several families; `step_ratio` is the cost of a weighting (`figures.step_ratio`).
    """

    group: Group
    figures: GroupFigures
    cost: Cost
    baseline: bool
    test: PairedTest | None
    why_untested: str | None
    rank: Rank | None
    harm: Harm | None
    step_ratio: float


@dataclass(frozen=True)
class Section:
    """Groups that met the same episodes in the same way, best first, and the one the others are tested against."""

    rows: tuple[Row, ...]
    baseline: Group | None


def section(groups: Sequence[Group], metric: str, baseline: Group | None, beside: Sequence[Group]) -> Section:
    """The figures of `groups`, which all have the metric, and a test of each against `baseline`.

    `beside` are all groups of the comparison, among which are those that costs are set against.
    """
    ranks = mean_ranks(groups)
    rows = [
        Row(
            group,
            figures_of(group, metric),
            cost_of(group),
            group is baseline,
            *_test(group, metric, baseline),
            ranks.get(group),
            harm_of(group),
            step_ratio(group, beside),
        )
        for group in groups
    ]
    sign = 1.0 if lower_is_better(metric) else -1.0
    return Section(tuple(sorted(rows, key=lambda row: _nan_last(sign * row.figures.mean))), baseline)


def best_on_validation(groups: Sequence[Group], metric: str) -> Group | None:
    """The group with the best validation figure, so that the choice has not seen the test; None without any."""
    sign = 1.0 if lower_is_better(metric) else -1.0
    known = {group: figures_of(group, metric).validation for group in groups}
    known = {group: sign * value for group, value in known.items() if not math.isnan(value)}
    return min(known, key=known.__getitem__) if known else None


def _test(group: Group, metric: str, baseline: Group | None) -> tuple[PairedTest | None, str | None]:
    """The test of `group` against `baseline`, or why there is none; neither where none is due."""
    if baseline is None or group is baseline:
        return None, None
    try:
        test = paired_test(*(_over_seeds if metric == DELTA_M else _over_episodes)(group, baseline, metric))
    except MetamtlError as error:
        return None, str(error)
    if math.isnan(test.difference):
        return None, "Some episodes have no figure (NaN), so they make no pairs."
    return test, None


def _over_episodes(group: Group, baseline: Group, metric: str) -> tuple[Figures, Figures]:
    figures, others = episode_means(group, metric), episode_means(baseline, metric)
    if figures.size != others.size:
        raise MetamtlError(f"It has kept {figures.size} episodes and the baseline {others.size}.")
    return figures, others


def _over_seeds(group: Group, baseline: Group, metric: str) -> tuple[Figures, Figures]:
    """A figure for each seed that both have: runs of one seed are compared with the same runs of each family alone."""
    own, other = (
        {record.seed: record.figures[metric]["mean"] for record in one.counted if metric in record.figures}
        for one in (group, baseline)
    )
    seeds = [seed for seed in own if seed in other]
    if len(seeds) < 2:
        raise MetamtlError(f"It has {len(seeds)} of its seeds in common with the baseline, and a test needs two.")
    return np.array([own[seed] for seed in seeds]), np.array([other[seed] for seed in seeds])


def _nan_last(value: float) -> tuple[bool, float]:
    return math.isnan(value), value
