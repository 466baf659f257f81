"""Whether files that can be read hold what they should, so that one damaged run cannot stop a view of the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from metamtl.comparison.record import flat

_COSTS = {"train": ("steps", "seconds", "tasks_per_second", "step_ms"), "model": ("parameters",)}


def problem_of(config: Mapping[str, Any], result: Mapping[str, Any] | None) -> str | None:
    """What is wrong with a run's config or result in a sentence; None where nothing is."""
    try:
        json.dumps(flat(config), default=str)
    except (ValueError, TypeError, RecursionError):
        return "config.yaml is damaged: it holds itself, or keys that are no names."
    if not isinstance(config.get("seed"), int | None):
        return "config.yaml is damaged: its seed is no number."
    if result is None:
        return None
    families = result.get("families", {})
    records = [result, *families.values()] if isinstance(families, dict) else [families]
    references = result.get("references", {})
    if not (all(map(_is_record, records)) and _has_numbers(result) and _are_references(references)):
        return "result.json is damaged: its figures have not the form of figures."
    return None


def _is_record(record: Any) -> bool:
    """The part of a result that each family has."""
    if not isinstance(record, dict):
        return False
    if not all(isinstance(record.get(key, {}), dict) for key in ("test", "data", "task")):
        return False
    return all(_is_summary(figure) for figure in record.get("test", {}).values())


def _is_summary(figure: Any) -> bool:
    if not isinstance(figure, dict) or not _numbers(figure, ("mean", "ci95")):
        return False
    return isinstance(figure.get("episodes"), int) and figure["episodes"] >= 0


def _has_numbers(result: Mapping[str, Any]) -> bool:
    """Whether cost and validation are numbers where they are there."""
    parts = [(result.get(part, {}), keys) for part, keys in _COSTS.items()]
    if not all(isinstance(part, dict) for part in (result.get("best", {}), *(part for part, _ in parts))):
        return False
    if not all(_numbers(part, [key for key in keys if key in part]) for part, keys in parts):
        return False
    return all(isinstance(value, int | float) for name, value in result.get("best", {}).items() if "/" in name)


def _are_references(references: Any) -> bool:
    """Whether families against each alone can be read; of a transfer's references nothing is."""
    if not isinstance(references, dict):
        return False
    families = references.get("families", {})
    worse = references.get("negative_transfer", {})
    if not (isinstance(families, dict) and isinstance(worse, dict)):
        return False
    if not all(map(_are_names, (worse.get("families", []), references.get("left_out", [])))):
        return False
    if not all(isinstance(one, dict) and _is_summary(one.get("difference")) for one in families.values()):
        return False
    delta = references.get("delta_m")
    return delta is None or ("families" in references and isinstance(delta, dict) and _numbers(delta, ("mean", "ci95")))


def _are_names(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _numbers(values: Mapping[str, Any], keys: Iterable[str]) -> bool:
    return all(isinstance(values.get(key), int | float) for key in keys)
