"""The columns of a comparison: what each shows to a person and what it holds for a program."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metamtl.comparison.compare import Comparison
from metamtl.comparison.groups import differing_keys
from metamtl.comparison.names import shown_value
from metamtl.comparison.sections import Row
from metamtl.comparison.statistics import LEVEL, PairedTest
from metamtl.comparison.where import resolve
from metamtl.errors import UsageError
from metamtl.runs.units import bare, titled

NOTHING = "-"
NUMBER = "number"  # of a row, by which lists below a table name it
Value = float | int | str | None


@dataclass(frozen=True)
class Column:
    """A column: its `key`, its `title`, the text of a row, and the values of a row under names for CSV."""

    key: str
    title: str
    text: Callable[[Row], str]
    values: Callable[[Row], Mapping[str, Value]]

    @property
    def numeric(self) -> bool:
        """Whether it is set flush right."""
        return self.key != "group"


def standard(comparison: Comparison) -> list[Column]:
    """All columns but those of the config, in the order in which they are shown."""
    metric = comparison.metric
    numbers = {id(row.group): number for number, row in enumerate(comparison.rows, 1)}
    return [
        Column(NUMBER, "#", lambda row: str(numbers[id(row.group)]), lambda row: {}),
        Column("group", "group", lambda row: row.group.name, lambda row: {"group": row.group.name}),
        Column("seeds", "seeds", lambda row: str(row.figures.seeds), lambda row: {"seeds": row.figures.seeds}),
        _figure(metric, titled(metric), metric, lambda row: row.figures.mean),
        _figure("ci_seeds", "± seeds", metric, lambda row: row.figures.seed_interval),
        _figure("ci_episodes", "± episodes", metric, lambda row: row.figures.episode_interval),
        Column("difference", "difference", lambda row: _difference(row, metric), _difference_values),
        _p("p", "p", lambda test: test.p_t_holm, lambda test: {"p_t": test.p_t, "p_t_holm": test.p_t_holm}),
        _p(
            "p_wilcoxon",
            "p ranks",
            lambda test: test.p_wilcoxon_holm,
            lambda test: {"p_wilcoxon": test.p_wilcoxon, "p_wilcoxon_holm": test.p_wilcoxon_holm},
        ),
        Column("rank", "mean rank", _rank, _rank_values),
        Column("negative_transfer", "negative %", _harm, _harm_values),
        _figure("validation", "validation", metric, lambda row: row.figures.validation),
        _cost("steps", "steps", lambda row: row.cost.steps, "{:,.0f}".format),
        _cost("seconds", "seconds", lambda row: row.cost.seconds, "{:,.0f}".format),
        _cost("tasks_per_second", "tasks/s", lambda row: row.cost.tasks_per_second, _speed),
        _cost("step_ms", "ms/step", lambda row: row.cost.step_ms, "{:,.1f}".format),
        _cost("step_ratio", "x equal", lambda row: row.step_ratio, "{:.2f}".format),
        _cost("parameters", "parameters", lambda row: row.cost.parameters, "{:,.0f}".format),
    ]


def differing(comparison: Comparison) -> list[Column]:
    """A column for each key of the config in which the compared groups differ."""
    return [_setting(key) for key in differing_keys([row.group.settings for row in comparison.rows])]


def filled(comparison: Comparison, columns: Sequence[Column]) -> list[Column]:
    """The columns in which some row says something."""
    return [column for column in columns if any(column.text(row) != NOTHING for row in comparison.rows)]


def named(comparison: Comparison, names: Sequence[str]) -> list[Column]:
    """The columns of these names, which may be keys of the config; raises UsageError for one that there is not."""
    known = {column.key: column for column in standard(comparison)}
    keys = {key for row in comparison.rows for record in row.group.counted for key in record.settings}
    found: list[Column] = []
    problems: list[str] = []
    for name in names:
        try:
            found.append(known[name] if name in known else _setting(resolve(name, keys | known.keys())))
        except UsageError as error:
            problems += error.problems
    if problems:
        raise UsageError(*problems, f"Columns are {', '.join(known)}, and the keys of the config.")
    return found


def _setting(key: str) -> Column:
    def value(row: Row) -> Any:
        return row.group.counted[-1].settings.get(key, row.group.settings.get(key))

    def text(row: Row) -> str:
        there = key in row.group.counted[-1].settings or key in row.group.settings
        return shown_value(value(row)) if there else NOTHING

    def plain(row: Row) -> Mapping[str, Value]:
        found = value(row)
        return {key: found if isinstance(found, int | float | str | None) else shown_value(found)}

    return Column(key, key, text, plain)


def _figure(key: str, title: str, metric: str, value: Callable[[Row], float]) -> Column:
    def text(row: Row) -> str:
        return NOTHING if math.isnan(value(row)) else bare(metric, value(row))

    return Column(key, title, text, lambda row: {key: known(value(row))})


def _cost(key: str, title: str, value: Callable[[Row], float], form: Callable[[float], str]) -> Column:
    def text(row: Row) -> str:
        return NOTHING if math.isnan(value(row)) else form(value(row))

    return Column(key, title, text, lambda row: {key: known(value(row))})


def _speed(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _p(
    key: str, title: str, value: Callable[[PairedTest], float], values: Callable[[PairedTest], Mapping[str, float]]
) -> Column:
    absent = PairedTest(math.nan, math.nan, math.nan, pairs=0, p_t=math.nan, p_wilcoxon=math.nan)

    def text(row: Row) -> str:
        return NOTHING if row.test is None else shown_p(value(row.test))

    def plain(row: Row) -> Mapping[str, Value]:
        return {name: known(p) for name, p in values(row.test or absent).items()}

    return Column(key, title, text, plain)


def shown_p(p: float) -> str:
    """`0.013 *` with a star below 0.05; `< 0.001 *` where the digits say no more."""
    if math.isnan(p):
        return NOTHING
    text = "< 0.001" if p < 0.001 else f"{p:.3f}"
    return f"{text} *" if p < LEVEL else text


def _difference(row: Row, metric: str) -> str:
    if row.baseline:
        return "baseline"
    if row.test is None:
        return NOTHING
    return bare(metric, row.test.difference, row.test.high - row.test.difference, sign=True)


def _difference_values(row: Row) -> Mapping[str, Value]:
    test = row.test
    return {
        "difference": known(test.difference) if test else None,
        "difference_low": known(test.low) if test else None,
        "difference_high": known(test.high) if test else None,
        "pairs": test.pairs if test else None,
        "is_baseline": int(row.baseline),
    }


def _rank(row: Row) -> str:
    return NOTHING if row.rank is None else f"{row.rank.mean:.2f}"


def _rank_values(row: Row) -> Mapping[str, Value]:
    rank = row.rank
    return {
        "rank": rank.mean if rank else None,
        "rank_families": rank.families if rank else None,
        "rank_seeds": rank.seeds if rank else None,
    }


def _harm(row: Row) -> str:
    harm = row.harm
    return NOTHING if harm is None else f"{100 * harm.rate:.0f} [{100 * harm.low:.0f}, {100 * harm.high:.0f}]"


def _harm_values(row: Row) -> Mapping[str, Value]:
    harm = row.harm
    return {
        "negative_transfer": harm.rate if harm else None,
        "negative_transfer_low": harm.low if harm else None,
        "negative_transfer_high": harm.high if harm else None,
        "negative_transfer_pairs": harm.pairs if harm else None,
    }


def known(value: float) -> float | None:
    """None in place of NaN, which stands for what is not known."""
    return None if math.isnan(value) else value
