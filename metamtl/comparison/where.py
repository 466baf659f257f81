"""Filters as typed, `algo=maml,shots=1,inner_lr>0.1`: which records, or which group, they mean."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from metamtl.comparison.groups import Group
from metamtl.comparison.record import RunRecord
from metamtl.config.hints import did_you_mean, nearest, nearest_key
from metamtl.errors import UsageError

_ORDERED: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(r"\s*([\w./-]+)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)
_COMMA = re.compile(r",(?![^\[]*\])")  # but none between brackets
STATUS = "status"  # beside the config's keys: how a run stands


class Condition(NamedTuple):
    """A dotted key that is known, a sign and what it is set against, as typed."""

    key: str
    sign: str
    value: str

    def holds(self, settings: Mapping[str, Any]) -> bool:
        """Whether the condition is true of `settings`; without the key `!=` alone is."""
        if self.key not in settings:
            return self.sign == "!="
        found = settings[self.key]
        if self.sign in _ORDERED:
            number = _number(found)
            return number is not None and _ORDERED[self.sign](number, float(self.value))
        return _same(found, self.value) == (self.sign == "=")


def where(records: Iterable[RunRecord], text: str) -> list[RunRecord]:
    """The records of which every condition in `text` is true; UsageError for what cannot be read or is not known.

    Keys may be whole (`algo.inner_lr`), a group (`algo` for `algo.name`), a last part (`shots`, which is `task.shots`
    and not the deeper `trainer.task.shots`), or `status`.
    """
    records = list(records)
    conditions = parse(text, (key for record in records for key in record.settings))
    return [record for record in records if _all_hold(conditions, record)]


def group_named(groups: Sequence[Group], text: str) -> Group:
    """The group of that name, or the only one that a filter fits; raises UsageError where there is none or several."""
    for group in groups:
        if group.name == text:
            return group
    names = [group.name for group in groups]
    if not re.search("[=<>]", text):
        raise UsageError(f"{text}: no such group{did_you_mean(nearest(text, names))} There are {', '.join(names)}.")
    conditions = parse(text, (key for group in groups for key in group.records[0].settings))
    fitting = [group for group in groups if _all_hold(conditions, group.records[0])]
    if len(fitting) != 1:
        found = ", ".join(group.name for group in fitting) or f"none of {', '.join(names)}"
        raise UsageError(f"{text} should fit one group; it fits {found}.")
    return fitting[0]


def parse(text: str, keys: Iterable[str]) -> list[Condition]:
    """The conditions in `text`, their keys found among `keys`; raises UsageError with every problem."""
    known = {*keys, STATUS}
    found: list[Condition] = []
    problems: list[str] = []
    for part in filter(str.strip, _COMMA.split(text)):
        match = _CONDITION.fullmatch(part)
        try:
            found.append(_condition(part, match, known))
        except UsageError as error:
            problems += error.problems
    if problems:
        raise UsageError(*problems)
    return found


def resolve(key: str, known: Iterable[str]) -> str:
    """The known key that `key` means; raises UsageError where it means none, or several of one depth."""
    known = set(known)
    for whole in (key, f"{key}.name"):
        if whole in known:
            return whole
    ending = [one for one in known if one.endswith(f".{key}")]
    least = min((one.count(".") for one in ending), default=0)
    ending = sorted(one for one in ending if one.count(".") == least)
    if not ending:
        raise UsageError(f"{key}: no run has such a key{did_you_mean(nearest_key(key, known))}")
    if len(ending) > 1:
        raise UsageError(f"{key}: which one of {', '.join(ending)}?")
    return ending[0]


def _condition(part: str, match: re.Match[str] | None, known: Iterable[str]) -> Condition:
    if match is None or match[3].startswith("="):
        raise UsageError(f"'{part.strip()}': no condition; write key=value, or with !=, <, >, <= or >=.")
    key, sign, value = resolve(match[1], known), match[2], match[3]
    if sign in _ORDERED and _number(value) is None:
        raise UsageError(f"'{part.strip()}': {value or 'nothing'} is no number, so {sign} cannot be asked.")
    return Condition(key, sign, value)


def _all_hold(conditions: Iterable[Condition], record: RunRecord) -> bool:
    settings = {**record.settings, STATUS: record.state}
    return all(condition.holds(settings) for condition in conditions)


def _same(found: Any, typed: str) -> bool:
    """Whether a value of a config is the one typed: numbers by their value, the rest by how it is written."""
    if found is None:
        return typed.lower() in ("null", "none")
    if isinstance(found, bool):
        return typed.lower() == str(found).lower()
    if isinstance(found, list):
        return re.sub(r"['\"\s]", "", typed) == re.sub(r"['\"\s]", "", str(found))
    number = _number(found)
    return str(found) == typed if number is None else number == _number(typed)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
