"""Sentences under a comparison: what it rests on, what it leaves out and what it cannot say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from metamtl.comparison.comparable import cautions, obstacles
from metamtl.comparison.delta import left_out
from metamtl.comparison.figures import figures_of
from metamtl.comparison.groups import Group
from metamtl.comparison.sections import Row, Section
from metamtl.comparison.statistics import LEVEL
from metamtl.runs.metric_names import DELTA_M
from metamtl.runs.result import Result
from metamtl.runs.units import readable

_LONGEST_LIST = 70  # characters of names before the rest is counted


def notes_of(
    metric: str, sections: Sequence[Section], left_out: Sequence[Group], wanted: Group | None
) -> Iterator[str]:
    """The sentences, the most needed first."""
    rows = [row for section in sections for row in section.rows]
    yield from _baselines(metric, sections, wanted)
    yield from _apart(metric, sections)
    for section in sections:
        yield from _careful(metric, section)
    yield from _few_seeds(rows) if metric != DELTA_M else ()  # whose tests are over seeds
    yield from _tests(rows)
    yield from _costs(rows)
    yield from _lacking(metric, rows)
    if others := [group.name for group in left_out if group.counted]:
        why = ", which runs of several families have with references=auto" if metric == DELTA_M else ""
        yield f"Without a test figure of {metric}{why}: {_listed(others)}."
    if repeated := [row.group.name for row in rows if row.group.superseded]:
        yield f"{_listed(repeated)}: of runs with the same seed the newest counts."


def _baselines(metric: str, sections: Sequence[Section], wanted: Group | None) -> Iterator[str]:
    """Which baseline, and who chose it; a group that stands alone is tested against nothing."""
    several = [section for section in sections if len(section.rows) > 1]
    without = [row.group.name for section in several if section.baseline is None for row in section.rows]
    if wanted is not None:
        yield f"Tested against {wanted.name}, as asked."
        return
    for section in several:
        if section.baseline is not None:
            others = (
                "" if all(_validated(row, metric) for row in section.rows) else " of those that have a figure of it"
            )
            figure = readable(metric, figures_of(section.baseline, metric).validation)
            yield f"Tested against {section.baseline.name}, the best on validation{others} ({metric} {figure})."
    if without:
        yield f"Not tested, since none has a validation figure of {metric}: {_listed(without)}. Choose a baseline."


def _validated(row: Row, metric: str) -> bool:
    return all(not math.isnan(record.validation(metric)) for record in row.group.counted)


def _apart(metric: str, sections: Sequence[Section]) -> Iterator[str]:
    """Why the other sections are not compared with the first; those of one reason together."""
    first = sections[0].baseline or sections[0].rows[0].group
    whose: dict[str, list[str]] = {}
    for section in sections[1:]:
        reasons = "; ".join(obstacles(section.rows[0].group, first, metric))
        whose.setdefault(reasons, []).extend(row.group.name for row in section.rows)
    for reasons, names in whose.items():
        yield f"Not comparable: {_listed(names)} with {first.name}: {reasons}."


def _careful(metric: str, section: Section) -> Iterator[str]:
    if section.baseline is None:
        return
    whose: dict[str, list[str]] = {}
    for row in section.rows:
        for reason in cautions(row.group, section.baseline, metric) if not row.baseline else ():
            whose.setdefault(reason, []).append(row.group.name)
    for reason, names in whose.items():
        yield f"{_listed(names)} with {section.baseline.name}: {reason}."


def _few_seeds(rows: Sequence[Row]) -> Iterator[str]:
    single = [row.group.name for row in rows if row.figures.seeds == 1]
    if single and any(row.test for row in rows):
        yield f"One seed: {_listed(single)}. The tests speak of these trained weights; training again may change more."


def _lacking(metric: str, rows: Sequence[Row]) -> Iterator[str]:
    """Whose seeds have no such figure, and what Delta m leaves out."""
    for row in rows:
        without = [str(record.seed) for record in row.group.counted if metric not in record.figures]
        if without:
            yield f"{row.group.name}: no {metric} of seeds {', '.join(without)}, so the others alone count."
        if metric == DELTA_M and (names := _left_out(row)):
            yield f"{row.group.name}: delta_m leaves out {', '.join(names)}, whose figure alone is 0."


def _left_out(row: Row) -> list[str]:
    """`lane (seeds 0, 2)`: the families without a relative change, and of which seeds."""
    seeds: dict[str, list[str]] = {}
    for record in row.group.counted:
        for name in left_out(record.result or Result()):
            seeds.setdefault(name, []).append(str(record.seed))
    return [f"{name} (seeds {', '.join(of_name)})" for name, of_name in seeds.items()]


def _tests(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.why_untested:
            yield f"{row.group.name} is not tested: {row.why_untested}"
    tests = {row.group.name: row.test for row in rows if row.test is not None}
    torn = [name for name, test in tests.items() if (test.p_t_holm < LEVEL) != (test.p_wilcoxon_holm < LEVEL)]
    if torn:
        yield (
            f"{_listed(torn)}: the paired t test and the signed-rank test do not agree, so the mean episode and the "
            "usual one tell different tales."
        )


def _costs(rows: Sequence[Row]) -> Iterator[str]:
    told = (record.meta.get("device") for row in rows for record in row.group.counted)
    devices = {str(device) for device in told if device is not None}
    if len(devices) > 1:
        yield f"Seconds and tasks a second were measured on different devices ({', '.join(sorted(devices))})."


def _listed(names: Iterable[str]) -> str:
    """`a, b and 3 more`: as many names as fit a line, one at least."""
    first, *rest = names
    shown = first
    while rest and len(shown) + len(rest[0]) < _LONGEST_LIST:
        shown += f", {rest.pop(0)}"
    return f"{shown} and {len(rest)} more" if rest else shown
