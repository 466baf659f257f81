"""What a run says of its families together against each alone: Delta m, and which of them are worse together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metamtl.runs.result import Record, Result, Summary


def delta_m(result: Result) -> Summary | None:
    """Delta m as a share, more is better, with its interval over the `episodes` of all families that it is of.

    None of a run that was trained without references, and where no family's figure alone differs from 0.
    """
    references = result.get("references", {})
    delta = references.get("delta_m")
    if delta is None:
        return None
    kept = [one for name, one in references["families"].items() if name not in left_out(result)]
    episodes = sum(one["difference"]["episodes"] for one in kept)
    return {"mean": delta["mean"], "ci95": delta["ci95"], "episodes": episodes}


def left_out(result: Result) -> list[str]:
    """The families that Delta m is not of, since their figure alone is 0."""
    names: list[str] = result.get("references", {}).get("left_out", [])
    return names


def worse_together(result: Result) -> dict[str, bool]:
    """Family -> whether its test figure is worse together than alone; {} without such references."""
    references = result.get("references", {})
    worse = references.get("negative_transfer", {}).get("families", [])
    return {name: name in worse for name in references.get("families", {})}


def joint_facts(families: Mapping[str, Record]) -> dict[str, Any]:
    """What a result says of the episodes of all families as one, for figures that are of all of them."""
    shared = {key: _joined(families, key) for key in ("episodes_id", "split", "transduction", "normalisation")}
    if not all(record.get("episodes_id") for record in families.values()):
        shared["episodes_id"] = ""  # episodes without a name are like no others
    return {"families": ", ".join(families), **shared}


def _joined(families: Mapping[str, Record], key: str) -> str:
    told = {name: str(record.get(key)) for name, record in families.items()}
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    return ", ".join(f"{name} {value}" for name, value in told.items())
