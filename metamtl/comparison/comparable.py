"""Whether two groups may be compared, and in words why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metamtl.comparison.groups import Group
from metamtl.comparison.record import RunRecord
from metamtl.runs.result import Result

_MEND = "train with trainer.transductive=false, or test with `metamtl eval RUN eval.transductive=false`"


def obstacles(one: Group, other: Group, metric: str) -> list[str]:
    """Why the figures of two groups must not be set against one another; [] where they may.

    Each is part of a sentence, `other episodes (5-way 1-shot against 5-way 5-shot)`, the first group's side first.
    """
    missing = [group.name for group in (one, other) if not _has(group, metric)]
    if missing:
        return [f"{' and '.join(missing)} has no test figure for {metric}"]
    first, second = one.counted[-1], other.counted[-1]
    if (names := _other_data(first, second)) is not None:
        return [names]  # nothing else about them can be mended
    found = []
    if _result(first).get("episodes_id") != _result(second).get("episodes_id") or not _result(first).get("episodes_id"):
        found.append(_other_episodes(first, second))
    if (difference := _other_transduction(first, second)) is not None:
        found.append(difference)
    return found


def cautions(one: Group, other: Group) -> list[str]:
    """What a reader should know of two groups that may be compared: other training data, other normalisation."""
    first, second = _result(one.counted[-1]), _result(other.counted[-1])
    found = []
    if _data(first).get("fingerprint") != _data(second).get("fingerprint"):
        found.append(
            f"the test episodes are the same, the training data is not{_against(*map(_facts, (first, second)))}"
        )
    if first.get("normalisation") != second.get("normalisation"):
        sides = _against(first.get("normalisation"), second.get("normalisation"))
        found.append(f"normalisation layers used other statistics at test{sides}")
    return found


def protocol(group: Group) -> tuple[str, str]:
    """Equal for two groups with figures exactly when nothing but a missing metric stands between them."""
    result = _result(group.counted[-1])
    return str(result.get("episodes_id")), str(result.get("transduction"))


def _other_data(first: RunRecord, second: RunRecord) -> str | None:
    left, right = _data(_result(first)).get("name"), _data(_result(second)).get("name")
    return None if left == right else f"another data set{_against(left, right)}"


def _other_episodes(first: RunRecord, second: RunRecord) -> str:
    """The plainest reason why episodes differ."""
    one, two = _result(first), _result(second)
    sides = {
        "another split": (one.get("split"), two.get("split")),
        "other tasks": (_shape(one.get("task", {})), _shape(two.get("task", {}))),
        "other episodes, eval.seed": (first.settings.get("eval.seed"), second.settings.get("eval.seed")),
        "another number of episodes": (_count(first), _count(second)),
        "other data": (_facts(one), _facts(two)),
    }
    for what, (left, right) in sides.items():
        if left != right:
            return f"{what}{_against(left, right)}"
    return f"other episodes{_against(one.get('episodes_id', 'unnamed'), two.get('episodes_id', 'unnamed'))}"


def _other_transduction(first: RunRecord, second: RunRecord) -> str | None:
    left, right = _result(first).get("transduction"), _result(second).get("transduction")
    if left == right:
        return None
    return f"a prediction saw other things of its task{_against(left, right)}: {_MEND}"


def _facts(result: Result) -> str:
    data = _data(result)
    return f"fingerprint {str(data.get('fingerprint', 'unknown'))[:8]}"


def _shape(task: Mapping[str, Any]) -> str:
    return f"{task.get('ways')}-way {task.get('shots')}-shot, {task.get('queries')} queries"


def _count(record: RunRecord) -> int:
    return max((figure["episodes"] for figure in record.figures.values()), default=0)


def _has(group: Group, metric: str) -> bool:
    return bool(group.counted) and metric in group.counted[-1].figures


def _result(record: RunRecord) -> Result:
    return record.result or Result()


def _data(result: Result) -> Mapping[str, Any]:
    return result.get("data", {})


def _against(left: object, right: object) -> str:
    return f" ({left} against {right})"
