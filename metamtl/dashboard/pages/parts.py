"""What several pages need: the metric that is looked at, its choices, and the keys in which runs differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metamtl.comparison.groups import Group, differing_keys, telling
from metamtl.comparison.metrics import chosen_metric
from metamtl.comparison.record import RunRecord
from metamtl.dashboard.blocks import Choices
from metamtl.dashboard.view import View
from metamtl.errors import MetamtlError

_RANKS = ("algo", "transfer", "weighting", "data", "task", "backbone", "trainer", "eval")


def metric_of(groups: Sequence[Group], view: View) -> str | None:
    """The figure that the view names where a run has it, otherwise that by which most selected; None without any."""
    for wanted in (view.metric or None, None):
        try:
            return chosen_metric(groups, wanted)
        except MetamtlError:
            continue
    return None


def choices(label: str, options: Sequence[tuple[str, dict[str, Any], bool]], view: View) -> list[Choices]:
    """Links that change the view a little; nothing where there is no choice."""
    if len(options) < 2:
        return []
    return [Choices(label, [(text, view.to(**changes), chosen) for text, changes, chosen in options])]


def keys_between(records: Sequence[RunRecord]) -> list[str]:
    """The keys of the config that decide figures and in which `records` differ: first those that all have, options."""
    settings = [telling(record.settings) for record in records if record.config]
    return sorted(differing_keys(settings), key=lambda key: (any(key not in one for one in settings), *_rank(key)))


def _rank(key: str) -> tuple[bool, int]:
    section = key.partition(".")[0]
    return not key.endswith(".name"), _RANKS.index(section) if section in _RANKS else len(_RANKS)
