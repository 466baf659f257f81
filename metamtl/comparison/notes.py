"""Sentences under a comparison: what it rests on, what it leaves out and what it cannot say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from metamtl.comparison.comparable import cautions, obstacles
from metamtl.comparison.figures import figures_of
from metamtl.comparison.groups import Group
from metamtl.comparison.metrics import readable
from metamtl.comparison.sections import Row, Section
from metamtl.comparison.statistics import LEVEL

_MOST_NAMES = 3


def notes_of(
    metric: str, sections: Sequence[Section], left_out: Sequence[Group], wanted: Group | None
) -> Iterator[str]:
    """The sentences, the most needed first."""
    rows = [row for section in sections for row in section.rows]
    for section in sections:
        yield from _baseline(metric, section, wanted)
    yield from _apart(metric, sections)
    for section in sections:
        yield from _careful(section)
    yield from _few_seeds(rows)
    yield from _tests(rows)
    yield from _costs(rows)
    for group in left_out:
        if group.counted:
            yield f"{group.name} has no test figure of {metric}; it has {', '.join(group.counted[-1].figures)}."
    if repeated := [row.group.name for row in rows if row.group.superseded]:
        yield f"{_listed(repeated)}: of runs with the same seed the newest counts."


def _baseline(metric: str, section: Section, wanted: Group | None) -> Iterator[str]:
    if len(section.rows) < 2:
        return
    if section.baseline is None:
        if wanted is None:
            yield f"{_names(section)}: no tests, since none has a validation figure of {metric}: choose a baseline."
        return
    name = section.baseline.name
    if wanted is not None:
        yield f"Tested against {name}, as asked."
        return
    figures = figures_of(section.baseline, metric)
    others = "" if all(_validated(row, metric) for row in section.rows) else " of those that have a figure of it"
    yield f"Tested against {name}, the best on validation{others} ({readable(metric, figures.validation)})."


def _validated(row: Row, metric: str) -> bool:
    return all(metric in record.validation for record in row.group.counted)


def _apart(metric: str, sections: Sequence[Section]) -> Iterator[str]:
    """Why each other section is not compared with the first."""
    if not sections:
        return
    first = sections[0].baseline or sections[0].rows[0].group
    for section in sections[1:]:
        reasons = "; ".join(obstacles(section.rows[0].group, first, metric))
        yield f"Not comparable: {_names(section)} with {first.name}: {reasons}."


def _careful(section: Section) -> Iterator[str]:
    if section.baseline is None:
        return
    whose: dict[str, list[str]] = {}
    for row in section.rows:
        for reason in cautions(row.group, section.baseline) if not row.baseline else ():
            whose.setdefault(reason, []).append(row.group.name)
    for reason, names in whose.items():
        yield f"{_listed(names)} with {section.baseline.name}: {reason}."


def _few_seeds(rows: Sequence[Row]) -> Iterator[str]:
    single = [row.group.name for row in rows if row.figures.seeds == 1]
    if single and any(row.test for row in rows):
        yield f"One seed: {_listed(single)}. The tests speak of these trained weights; training again may change more."


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
    devices = {str(record.meta.get("device")) for row in rows for record in row.group.counted}
    if len(devices) > 1:
        yield f"Seconds and tasks a second were measured on different devices ({', '.join(sorted(devices))})."


def _names(section: Section) -> str:
    return _listed([row.group.name for row in section.rows])


def _listed(names: Iterable[str]) -> str:
    first, *rest = names
    every = [first, *rest]
    return ", ".join(every[:_MOST_NAMES]) + (f" and {len(every) - _MOST_NAMES} more" if rest[_MOST_NAMES - 1 :] else "")
