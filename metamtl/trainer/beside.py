"""What families cost and withstand together beside each alone, for the references of a run.

A family alone that was not measured when it was trained is measured here by its best weights, which takes about a
second; one whose weights cannot be had is named, and has no part in the sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metamtl.config.earlier import completed_run
from metamtl.errors import MetamtlError
from metamtl.opening import open_sources
from metamtl.runs.folder import RunFolder
from metamtl.runs.metric_names import lower_is_better
from metamtl.runs.result import Cost, Record, Result, read_result
from metamtl.runs.units import readable

_SUMMED = ("flops", "latency_ms")
_MEASURED = (*_SUMMED, "peak_mb")


def record_of(reference: RunFolder, name: str) -> Record:
    """What a reference's result says of the family, which under layers of its own stands among `families`."""
    whole = read_result(reference)
    return whole["families"][name] if "families" in whole else whole


def cost_beside(together: Result, references: Mapping[str, RunFolder]) -> dict[str, Any]:
    """`parameters`, `flops`, `latency_ms` and `peak_mb`, each `together` and `alone` by family; {} where none is known.

    `alone_sum` is that of as many networks as families; FLOPs and milliseconds are of one task or example of every
    family, one after another, in `together_sum` by the one network. `peak_mb` (10^6 bytes) has no sum, as it is of a
    process with all that it has loaded, and of a reference trained in the same process it includes what came before.
    `not_known` names the families whose cost alone is not.
    """
    found: dict[str, Any] = {}
    if "model" in together:
        alone = {name: read_result(one)["model"]["parameters"] for name, one in references.items()}
        parameters = together["model"]["parameters"]
        found["parameters"] = {"together": parameters, "alone": alone, "alone_sum": sum(alone.values())}
    here = {name: one["cost"] for name, one in together["families"].items() if "cost" in one and name in references}
    if not here:
        return found
    there = {name: _cost_alone(references[name], name) for name in here}
    known = {name: one for name, one in there.items() if one is not None}
    for key in _MEASURED:
        sides: dict[str, Any] = {"together": _each(here, key), "alone": _each(known, key)}
        # sums over other families than these would not stand beside each other
        sums = {f"{side}_sum": sum(values[name] for name in known) for side, values in sides.items()}
        found[key] = sides | (sums if known and key in _SUMMED else {})
    return found | {"not_known": [name for name, one in there.items() if one is None]}


def robustness_beside(together: Result, references: Mapping[str, RunFolder]) -> dict[str, Any]:
    """Family -> disturbance -> its `points` and the `drop`; without what was not measured on both sides.

    A point has a `severity` and the figures `together` and `alone`, the first undisturbed. A drop is by how much the
    figure is worse than undisturbed, in units of its metric, the mean over the severities.
    """
    found: dict[str, Any] = {}
    for name, reference in references.items():
        record = together["families"][name]
        sides = (record.get("robustness", {}), record_of(reference, name).get("robustness", {}))
        kinds = {kind: _side_by_side(*(side[kind] for side in sides)) for kind in sides[0] if kind in sides[1]}
        worse = 1 if lower_is_better(record["metric"]) else -1
        for one in kinds.values():
            one["drop"] = {side: worse * _risen(one["points"], side) for side in ("together", "alone")}
        if kinds:
            found[name] = kinds
    return found


def said_beside(record: Mapping[str, Any]) -> list[str]:
    """A line for a person on each of the two, where it is known."""
    return [*_said_cost(record["cost"]), *_said_robustness(record["robustness"], record["families"])]


def _cost_alone(reference: RunFolder, name: str) -> Cost | None:
    record = record_of(reference, name)
    if "cost" in record:
        return record["cost"]
    from metamtl.evaluation.cost import cost_of
    from metamtl.evaluation.session import build_trained
    from metamtl.trainer import checkpoint

    try:
        config = completed_run(reference.config())
        families = build_trained(config, open_sources(config), reference)
        checkpoint.load_best(reference, families.module)
    except MetamtlError:
        return None
    return cost_of(families.each.get(name, families.first))


def _each(costs: Mapping[str, Any], key: str) -> dict[str, float]:
    return {name: cost[key] for name, cost in costs.items()}


def _side_by_side(together: list[dict[str, Any]], alone: list[dict[str, Any]]) -> dict[str, Any]:
    points = []
    for one, other in zip(together, alone, strict=True):  # severities are those of the code, the same for both
        both = {
            side: {key: point[key] for key in ("mean", "ci95", "episodes")}
            for side, point in (("together", one), ("alone", other))
        }
        points.append({"severity": one["severity"], **both})
    return {"points": points}


def _risen(points: list[dict[str, Any]], side: str) -> float:
    """By how much the figure is higher than undisturbed, the mean over the severities."""
    plain, *disturbed = (float(point[side]["mean"]) for point in points)
    return sum(disturbed) / len(disturbed) - plain


def _said_cost(cost: Mapping[str, Any]) -> list[str]:
    told = []
    if "parameters" in cost:
        told.append(f"{cost['parameters']['together']:,} parameters ({cost['parameters']['alone_sum']:,})")
    if "together_sum" in cost.get("flops", {}):
        flops, latency = cost["flops"], cost["latency_ms"]
        told.append(f"{flops['together_sum']:,} FLOPs ({flops['alone_sum']:,})")
        told.append(f"{latency['together_sum']:.2f} ms ({latency['alone_sum']:.2f})")
    unknown = cost.get("not_known", [])
    lacks = f". Not known, as its weights cannot be had: what {', '.join(unknown)} costs alone" if unknown else ""
    return [f"Cost together (and of all alone): {', '.join(told)}{lacks}"] if told else []


def _said_robustness(robustness: Mapping[str, Any], families: Mapping[str, Any]) -> list[str]:
    told = []
    for name, kinds in robustness.items():
        metric = families[name]["metric"]
        drops = [
            readable(metric, sum(one["drop"][side] for one in kinds.values()) / len(kinds))
            for side in ("together", "alone")
        ]
        told.append(f"{name} {drops[0]} {metric} ({drops[1]})")
    return [f"Lost under disturbances, together (and alone): {', '.join(told)}"] if told else []
