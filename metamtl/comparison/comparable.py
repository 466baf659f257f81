"""Whether two groups may be compared, and in words why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metamtl.comparison.groups import Group
from metamtl.comparison.record import RunRecord

Facts = Mapping[str, Any]
_MEND = "train with trainer.transductive=false, or test with `metamtl eval RUN eval.transductive=false`"


def obstacles(one: Group, other: Group, metric: str) -> list[str]:
    """Why the figures of two groups must not be set against one another; [] where they may.

    Each is part of a sentence, `other episodes (5-way 1-shot against 5-way 5-shot)`, the first group's side first.
    """
    missing = [group.name for group in (one, other) if not _has(group, metric)]
    if missing:
        return [f"{' and '.join(missing)} has no test figure for {metric}"]
    first, second = one.counted[-1].facts(metric), other.counted[-1].facts(metric)
    if _data(first).get("name") != _data(second).get("name"):
        # nothing else about them can be mended
        return [f"another data set{_against(_data(first).get('name'), _data(second).get('name'))}"]
    found = []
    if first.get("episodes_id") != second.get("episodes_id") or not first.get("episodes_id"):
        found.append(_other_episodes(one.counted[-1], other.counted[-1], metric))
    if first.get("transduction") != second.get("transduction"):
        sides = _against(first.get("transduction"), second.get("transduction"))
        found.append(f"a prediction saw other things of its task{sides}: {_MEND}")
    return found


def cautions(one: Group, other: Group, metric: str) -> list[str]:
    """What a reader should know of two groups that may be compared: other training data, other normalisation."""
    first, second = one.counted[-1].facts(metric), other.counted[-1].facts(metric)
    found = []
    if _data(first).get("fingerprint") != _data(second).get("fingerprint"):
        sides = _against(_fingerprint(first), _fingerprint(second))
        found.append(f"the test episodes are the same, the training data is not{sides}")
    if first.get("normalisation") != second.get("normalisation"):
        sides = _against(first.get("normalisation"), second.get("normalisation"))
        found.append(f"normalisation layers used other statistics at test{sides}")
    return found


def protocol(group: Group, metric: str) -> tuple[str, ...]:
    """Equal for two groups with figures of `metric` exactly when there are no obstacles between them."""
    facts = group.counted[-1].facts(metric)
    # episodes without a name are like no others
    named = str(facts.get("episodes_id") or group.name)
    return named, str(facts.get("transduction")), str(_data(facts).get("name"))


def _other_episodes(first: RunRecord, second: RunRecord, metric: str) -> str:
    """The plainest reason why episodes differ."""
    one, two = first.facts(metric), second.facts(metric)
    sides = {
        "other families": (one.get("families"), two.get("families")),
        "another split": (one.get("split"), two.get("split")),
        "other tasks": (_shape(one.get("task", {})), _shape(two.get("task", {}))),
        "other episodes, eval.seed": (first.settings.get("eval.seed"), second.settings.get("eval.seed")),
        "another number of episodes": (_count(first, metric), _count(second, metric)),
        "other data": (_fingerprint(one), _fingerprint(two)),
    }
    for what, (left, right) in sides.items():
        if left != right:
            return f"{what}{_against(left, right)}"
    return f"other episodes{_against(one.get('episodes_id'), two.get('episodes_id'))}"


def _count(record: RunRecord, metric: str) -> int | None:
    return record.figures[metric]["episodes"] if metric in record.figures else None


def _fingerprint(facts: Facts) -> str:
    return f"fingerprint {str(_data(facts).get('fingerprint', 'unknown'))[:8]}"


def _shape(task: Mapping[str, Any]) -> str:
    if not task:
        return "labelled examples"
    return f"{task.get('ways')}-way {task.get('shots')}-shot, {task.get('queries')} queries"


def _has(group: Group, metric: str) -> bool:
    return any(metric in record.figures for record in group.counted)


def _data(facts: Facts) -> Facts:
    data: Facts = facts.get("data", {})
    return data


def _against(left: object, right: object) -> str:
    return f" ({left} against {right})"
