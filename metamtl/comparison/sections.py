"""Groups of one protocol, each with its figures and its test against the baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from metamtl.comparison.figures import Cost, GroupFigures, cost_of, episode_means, figures_of
from metamtl.comparison.groups import Group
from metamtl.comparison.statistics import Figures, PairedTest, paired_test
from metamtl.errors import MetamtlError
from metamtl.runs.metric_names import lower_is_better


@dataclass(frozen=True)
class Row:
    """A group beside the baseline of its section.

    `test` is None for the baseline, where there is none, and where `why_untested` says why the pairs are missing.
    """

    group: Group
    figures: GroupFigures
    cost: Cost
    baseline: bool
    test: PairedTest | None
    why_untested: str | None


@dataclass(frozen=True)
class Section:
    """Groups that met the same episodes in the same way, best first, and the one the others are tested against."""

    rows: tuple[Row, ...]
    baseline: Group | None


def section(groups: Sequence[Group], metric: str, baseline: Group | None) -> Section:
    """The figures of `groups`, which all have the metric, and a test of each against `baseline`."""
    rows = [_row(group, metric, baseline) for group in groups]
    sign = 1.0 if lower_is_better(metric) else -1.0
    return Section(tuple(sorted(rows, key=lambda row: _nan_last(sign * row.figures.mean))), baseline)


def best_on_validation(groups: Sequence[Group], metric: str) -> Group | None:
    """The group with the best validation figure, so that the choice has not seen the test; None without any."""
    sign = 1.0 if lower_is_better(metric) else -1.0
    known = {group: figures_of(group, metric).validation for group in groups}
    known = {group: sign * value for group, value in known.items() if not math.isnan(value)}
    return min(known, key=known.__getitem__) if known else None


def _row(group: Group, metric: str, baseline: Group | None) -> Row:
    test, why = None, None
    if baseline is not None and group is not baseline:
        try:
            test = _test(episode_means(group, metric), episode_means(baseline, metric))
        except MetamtlError as error:
            why = str(error)
        if test is not None and math.isnan(test.difference):
            test, why = None, "Some episodes have no figure (NaN), so they make no pairs."
    return Row(group, figures_of(group, metric), cost_of(group), group is baseline, test, why)


def _test(figures: Figures, baseline: Figures) -> PairedTest:
    if figures.size != baseline.size:
        raise MetamtlError(f"It has kept {figures.size} episodes and the baseline {baseline.size}.")
    return paired_test(figures, baseline)


def _nan_last(value: float) -> tuple[bool, float]:
    return math.isnan(value), value
