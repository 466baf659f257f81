"""What one run says of itself beside others: its stages, each family alone, and training without the transfer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metamtl.comparison.record import RunRecord
from metamtl.dashboard.blocks import Block, Table
from metamtl.runs.metric_names import DELTA_M
from metamtl.runs.units import readable

_STAGES = {"acc": "ACC", "bwt": "BWT", "fwt": "FWT", "forgetting": "forgetting"}
_COSTS = {
    "parameters": "parameters",
    "flops": "FLOPs for an example, or task, of each family",
    "latency_ms": "milliseconds for these",
}
_BESIDE = {
    "transfer": "with the transfer",
    "scratch": "from scratch",
    "source_only": "source only",
    "random_init": "untrained",
}


def verdicts(record: RunRecord) -> list[Block]:
    """The tables that its result has something for; a result that says it otherwise has none."""
    result: Mapping[str, Any] = {**(record.result or {})}
    blocks: list[Block] = []
    for made in (_stages, _alone, _cost, _robustness, _without):
        try:
            blocks += made(result)
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
    return blocks


def _stages(result: Mapping[str, Any]) -> list[Block]:
    """Accuracies after the last stage against those after each (metamtl.evaluation.continual)."""
    if not (sequence := result.get("sequence")):
        return []
    metric = str(result["metric"])
    rows = [[name, _told(metric, sequence[key])] for key, name in _STAGES.items() if sequence.get(key) is not None]
    return [Table(f"After {len(sequence['stages'])} stages, {metric}", ["", "figure"], rows, frozenset({1}))]


def _alone(result: Mapping[str, Any]) -> list[Block]:
    """Each family together with the others against itself alone."""
    references = result.get("references") or {}
    rows = []
    for name, one in references.get("families", {}).items():
        metric, sides = one["metric"], (one["together"], one["alone"])
        difference = _told(metric, one["difference"], sign=True)
        rows.append([f"{name}/{metric}", *(_told(metric, side) for side in sides), difference])
    if not rows:
        return []
    delta = references.get("delta_m")
    told = f", Delta m {_told(DELTA_M, delta, sign=True)}" if delta else ""
    head = ["figure", "together", "alone", "difference"]
    return [Table(f"Each family against itself alone{told}", head, rows, frozenset({1, 2, 3}))]


def _cost(result: Mapping[str, Any]) -> list[Block]:
    """What one network for all families costs against one for each."""
    cost = (result.get("references") or {}).get("cost", {})
    rows = []
    for key, name in _COSTS.items():
        one = cost.get(key, {})
        together = one.get("together_sum", one.get("together"))
        if "alone_sum" in one:
            digits = ".2f" if key == "latency_ms" else ",d"
            rows.append([name, format(together, digits), format(one["alone_sum"], digits)])
    head = ["", "together", "all alone"]
    return [Table("What families cost together and alone", head, rows, frozenset({1, 2}))] if rows else []


def _robustness(result: Mapping[str, Any]) -> list[Block]:
    """By how much each family's figure is worse where inputs or labels are, together and alone."""
    references = result.get("references") or {}
    rows = []
    for name, kinds in references.get("robustness", {}).items():
        metric = references["families"][name]["metric"]
        for kind, one in kinds.items():
            sides = (_told(metric, one["drop"][side]) for side in ("together", "alone"))
            rows.append([f"{name}/{metric}", kind.replace("_", " "), *sides])
    head = ["figure", "disturbance", "lost together", "lost alone"]
    caption = "Lost under disturbances, the mean over severities"
    return [Table(caption, head, rows, frozenset({2, 3}))] if rows else []


def _without(result: Mapping[str, Any]) -> list[Block]:
    """A transfer against training without it."""
    references = result.get("references") or {}
    if "improvement" not in references:
        return []
    metric = references["metric"]
    rows = [[name, _told(metric, references[key])] for key, name in _BESIDE.items() if references.get(key)]
    rows.append(["gain of the transfer", _told(metric, references["improvement"], sign=True)])
    return [Table(f"With and without the transfer, test {metric}", ["", "figure"], rows, frozenset({1}))]


def _told(metric: str, figure: Any, sign: bool = False) -> str:
    """A number, or a mean with its interval."""
    if isinstance(figure, Mapping):
        return readable(metric, figure["mean"], figure["ci95"], sign)
    return readable(metric, float(figure), sign=sign)
