"""The table as Markdown: published figure, ours with its interval, what it cost, what differs, and the command."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from metamtl.comparison.collect import collect
from metamtl.comparison.figures import Cost, GroupFigures, cost_of, episode_means, figures_of
from metamtl.comparison.groups import Group
from metamtl.comparison.metrics import chosen_metric
from metamtl.comparison.statistics import LEVEL, PairedTest, holm, paired_test
from metamtl.reproduce.rows import Workplace, begun_with, share_of
from metamtl.reproduce.table import TableRow
from metamtl.runs.metric_names import lower_is_better
from metamtl.runs.units import bare


@dataclass(frozen=True)
class Measured:
    """A row that has finished runs."""

    row: TableRow
    group: Group
    metric: str
    figures: GroupFigures
    cost: Cost

    @property
    def episodes_id(self) -> str:
        """Which test episodes it met."""
        return (self.group.counted[0].result or {}).get("episodes_id", "")


@dataclass(frozen=True)
class Comparison:
    """A column of paired tests by row against `reference`, which is called `name` in its own line; None: not run."""

    name: str
    reference: Measured | None
    tests: Mapping[str, PairedTest]


def markdown(place: Workplace) -> str:
    """The whole document."""
    measured = [found for row in place.table.rows if (found := _measured(place, row))]
    best = _best_baseline(measured)
    floor = next((one for one in measured if one.row.name == place.table.floor), None)
    against = [Comparison("the baseline", best, _tests(measured, best))]
    if place.table.floor is not None:
        against.append(Comparison("the floor", floor, _tests(measured, floor)))
    lines = [f"# {place.table.title}", "", *_preface(place, measured, best), ""]
    heads = ["row", "published", "here", "seeds", "episodes", "against the best baseline"]
    heads += [] if place.table.floor is None else [f"against {place.table.floor}"]
    heads += ["updates", "share of the recipe", "minutes of updates", "tasks/s", "parameters"]
    lines += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [_line(place, one, against) for one in measured]
    missing = [row.name for row in place.table.rows if row not in [one.row for one in measured]]
    if missing:
        lines += ["", f"Not run yet: {', '.join(missing)}."]
    return "\n".join([*lines, "", *_rows(place, measured)]) + "\n"


def _measured(place: Workplace, row: TableRow) -> Measured | None:
    folders = [place.folder(row) / f"s{seed}" for seed in place.table.seeds]
    present = [folder for folder in folders if folder.is_dir()]
    records = [record for record in collect(present) if record.finished] if present else []
    if not records:
        return None
    group = Group(row.name, {}, tuple(records))
    metric = chosen_metric([group])
    return Measured(row, group, metric, figures_of(group, metric), cost_of(group))


def _best_baseline(measured: Sequence[Measured]) -> Measured | None:
    """By validation, so that the choice has not seen the test."""
    known = [one for one in measured if one.row.baseline and not math.isnan(one.figures.validation)]
    sign = -1 if known and lower_is_better(known[0].metric) else 1
    return max(known, key=lambda one: sign * one.figures.validation, default=None)


def _tests(measured: Sequence[Measured], reference: Measured | None) -> dict[str, PairedTest]:
    """Paired tests on identical episodes by row; p corrected for all of them (Holm)."""
    if reference is None:
        return {}
    others = [one for one in measured if one is not reference and one.episodes_id == reference.episodes_id]
    figures = episode_means(reference.group, reference.metric)
    found = {one.row.name: paired_test(episode_means(one.group, reference.metric), figures) for one in others}
    corrected = holm([test.p_t for test in found.values()])
    return {
        name: PairedTest(test.difference, test.low, test.high, test.pairs, p, test.p_wilcoxon)
        for (name, test), p in zip(found.items(), corrected, strict=True)
    }


def _preface(place: Workplace, measured: Sequence[Measured], best: Measured | None) -> Iterator[str]:
    shortened = [one for one in measured if share_of(place.folder(one.row)) < 1]
    if shortened:
        yield (
            f"**A budgeted table**: {len(shortened)} of {len(measured)} rows train for a part of their recipe, as long "
            "as the budget of updates allows; read their figures as what that budget buys, not as the method's best."
        )
        yield ""
    yield (
        "Shares such as accuracy in percent, 95% intervals: over episodes for one seed, over seeds (Student's t) for "
        "several. Checkpoints and test-time choices are made on validation classes."
    )
    yield from _missing_classes(measured)
    if best is not None:
        yield (
            f"The best baseline on validation is {best.row.name}; differences to it are paired on identical test "
            f"episodes, p from the paired t test with Holm's correction, bold below {LEVEL}."
        )
        if place.table.floor is not None:
            yield f"Those to {place.table.floor} are tested likewise, by themselves."
        if any(one.figures.seeds == 1 for one in measured):
            yield "Of rows of one seed these tests speak of the episodes alone: training again may change more."


def _missing_classes(measured: Sequence[Measured]) -> Iterator[str]:
    """A copy of the data may lack classes of the published split."""
    facts = [(record.result or {}).get("data", {}) for one in measured for record in one.group.counted]
    short = {
        (fact["classes"]["test"], fact["classes_listed"]["test"])
        for fact in facts
        if "classes_listed" in fact and fact["classes"]["test"] < fact["classes_listed"]["test"]
    }
    for present, listed in sorted(short):
        yield f"The copy of the data has {present} of the test split's {listed} classes."


def _line(place: Workplace, one: Measured, against: Sequence[Comparison]) -> str:
    figures, cost = one.figures, one.cost
    half = figures.seed_interval if figures.seeds > 1 else figures.episode_interval
    share = share_of(place.folder(one.row))
    cells = [
        one.row.name + (" †" if _transductive(one) else ""),
        "-" if one.row.published is None else f"{one.row.published:g}",
        bare(one.metric, figures.mean, half),
        str(figures.seeds),
        str(figures.episodes),
        *[_difference(one, comparison) for comparison in against],
        f"{cost.steps:.0f}",
        "whole" if share == 1 else f"{100 * share:.1f}%",
        f"{cost.seconds / 60:.1f}",
        f"{cost.tasks_per_second:.1f}",
        f"{cost.parameters:,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _difference(one: Measured, comparison: Comparison) -> str:
    reference, test = comparison.reference, comparison.tests.get(one.row.name)
    if one is reference:
        return comparison.name
    if test is None:
        return "other episodes" if reference is not None else "-"
    p = "< 0.001" if test.p_t < 0.001 else f"{test.p_t:.3f}"
    text = f"{bare(one.metric, test.difference, sign=True)} (p {p})"
    alike = reference is not None and _transductive(one) == _transductive(reference)
    return f"**{text}**" if test.p_t < LEVEL and alike else text


def _transductive(one: Measured) -> bool:
    return any("transductive" in str((record.result or {}).get("transduction")) for record in one.group.counted)


def _rows(place: Workplace, measured: Sequence[Measured]) -> Iterator[str]:
    if any(_transductive(one) for one in measured):
        yield (
            "† transductive: the queries of a task are normalised together, those of the baseline are not, and a "
            "difference to it is of the method and of that, and never bold."
        )
        yield ""
    yield "In supervised stages tasks/s counts examples. Commands and deviations:"
    yield ""
    for one in measured:
        begun = begun_with(place.folder(one.row))
        command = shlex.join(["metamtl", *_portable(place.command(one.row, place.table.seeds[0], begun))])
        source = f" Published: {one.row.source}." if one.row.source else ""
        deviations = f" Deviations: {one.row.deviations}." if one.row.deviations else ""
        yield f"- **{one.row.name}**: `{command}`.{source}{deviations}"


def _portable(command: Sequence[str]) -> list[str]:
    """Without the places of this machine."""
    return [word for word in command if not word.startswith("paths.")]
