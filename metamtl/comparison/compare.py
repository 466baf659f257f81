"""Groups against a baseline: figures, paired tests on identical episodes, and sentences on what cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from metamtl.comparison.comparable import protocol
from metamtl.comparison.groups import Group
from metamtl.comparison.metrics import chosen_metric
from metamtl.comparison.notes import notes_of
from metamtl.comparison.sections import Row, Section, best_on_validation, section
from metamtl.comparison.statistics import holm


@dataclass(frozen=True)
class Comparison:
    """One metric of many groups.

    `sections` hold what may be compared with one another, the baseline's first; `notes` are whole sentences for the
    reader: which baseline and why, what is not comparable and why, what to be careful with. `left_out` are the groups
    that have no figure of the metric.
    """

    metric: str
    sections: tuple[Section, ...]
    left_out: tuple[Group, ...]
    notes: tuple[str, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all sections."""
        return tuple(row for section in self.sections for row in section.rows)


def compare(groups: Sequence[Group], metric: str | None = None, baseline: Group | None = None) -> Comparison:
    """Compares `groups` by `metric`, by default the one by which most selected.

    Groups are tested against `baseline`, one of them, where they may be compared with it; without it those of each
    section against its best on validation. All tests of one comparison are corrected together. Raises MetamtlError
    where no group is finished, UsageError where none has the metric.
    """
    metric = chosen_metric(groups, metric)
    by_protocol: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        if has(group, metric):
            by_protocol.setdefault(protocol(group, metric), []).append(group)
    found = [section(alike, metric, _baseline(alike, metric, baseline), groups) for alike in by_protocol.values()]
    # sorting is stable: sections of one size stay in the order of their first run
    sections = _corrected(sorted(found, key=lambda one: (one.baseline is None, -len(one.rows))))
    left_out = tuple(group for group in groups if not has(group, metric))
    return Comparison(metric, sections, left_out, tuple(notes_of(metric, sections, left_out, baseline)))


def has(group: Group, metric: str) -> bool:
    """Whether a finished run of `group` has a test figure of `metric`."""
    return any(metric in record.figures for record in group.counted)


def _baseline(groups: Sequence[Group], metric: str, wanted: Group | None) -> Group | None:
    if wanted is None:
        return best_on_validation(groups, metric)
    return wanted if wanted in groups else None


def _corrected(sections: Sequence[Section]) -> tuple[Section, ...]:
    """All tests of the comparison are one family of hypotheses."""
    tests = [row.test for section in sections for row in section.rows if row.test is not None]
    by_t, by_ranks = holm([test.p_t for test in tests]), holm([test.p_wilcoxon for test in tests])
    corrected = iter(
        map(lambda test, t, ranks: replace(test, p_t_holm=t, p_wilcoxon_holm=ranks), tests, by_t, by_ranks)
    )
    return tuple(
        replace(section, rows=tuple(replace(row, test=next(corrected)) if row.test else row for row in section.rows))
        for section in sections
    )
