"""The result of a run or an evaluation: the record that result.json holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from metamtl.build import Parts
from metamtl.data.inputs import describe_inputs
from metamtl.data.source import Split
from metamtl.engine.world import World
from metamtl.evaluation.choice import chosen
from metamtl.evaluation.cost import cost_of
from metamtl.evaluation.outside import outside_figures
from metamtl.evaluation.protocol import EpisodeFigures, episodes_id, evaluate_episodes, summaries
from metamtl.evaluation.robustness import robustness
from metamtl.families import Families
from metamtl.runs.result import Model, Record, Result, describe

Heard = Callable[[int, int], None]


def tested(families: Families, world: World, after_block: Heard) -> tuple[Result, EpisodeFigures]:
    """The figures of every family's test episodes, with all that says how they came about."""
    records: dict[str, Record] = {}
    every: EpisodeFigures = {}
    for name, parts in families.each.items():
        records[name], figures = _tested_one(parts, world, after_block)
        every |= {f"{families.prefix(name)}{metric}": values for metric, values in figures.items()}
    model = _model(families.module)
    if families.weighting is None:
        only = Result(model=model)
        only.update(records[next(iter(records))])  # type: ignore[typeddict-item]
        return only, every
    return Result(families=records, model=model), every


def said(families: Families, result: Result) -> list[str]:
    """A line on each family's test, for a person."""
    lines = []
    for name, parts in families.each.items():
        record: Record = result if families.weighting is None else result["families"][name]
        lines.append(f"{families.prefix(name).replace('/', ': ')}{describe(record, parts.family.metric)}")
    return lines


def _tested_one(parts: Parts, world: World, after_block: Heard) -> tuple[Record, EpisodeFigures]:
    parts, choices = chosen(parts, world)
    options = parts.config["eval"]
    split: Split = options["split"]
    figures = evaluate_episodes(parts, world, split, options["episodes"], after_block)
    if options["outside"]:
        figures |= outside_figures(parts, split, options["episodes"], options["outside"])
    metric = parts.family.metric
    labelled = parts.source.labelled
    record = Record(
        test=summaries(parts, figures),
        metric=metric,
        episodes_id=episodes_id(parts, split, parts.test_shape, options["episodes"]),
        split=split,
        task={} if labelled else dict(parts.config["task"]),
        normalisation=_normalisation(parts),
        transduction=_transduction(parts),
        engine=parts.engine.plan.record(),
        data={"name": parts.source.name, "fingerprint": parts.source.fingerprint, **_plain(parts.source.facts)},
        inputs=describe_inputs(parts.source),
    )
    if choices:
        record["choices"] = choices
    if options["robustness"]:
        record["robustness"] = robustness(parts, world, split, options["robustness"])
    if options["cost"] or (options["cost"] is None and parts.config["references"] == "auto"):
        record["cost"] = cost_of(parts)
    # a shape that the meta-train classes cannot make has no gap
    if options["gap_episodes"] >= 2 and not labelled and not parts.source.problems("train", parts.test_shape):
        seen = evaluate_episodes(parts, world, "train", options["gap_episodes"], after_block)
        record["meta_train"] = summaries(parts, seen)
        record["gap"] = {metric: record["meta_train"][metric]["mean"] - record["test"][metric]["mean"]}
    return record, figures


def _model(module: nn.Module) -> Model:
    weights = list(module.parameters())
    return {
        "parameters": sum(weight.numel() for weight in weights),
        "trainable": sum(weight.numel() for weight in weights if weight.requires_grad),
    }


def _normalisation(parts: Parts) -> str:
    network = parts.learner.network
    if network.norm != "batch":
        return {"running": "running averages", "group": "group", "none": "none"}[network.norm]
    whose = "its own batch" if parts.config["eval"]["transductive"] else "the support set"
    return f"batch statistics, a query normalised by those of {whose}"


def _transduction(parts: Parts) -> str:
    if parts.learner.network.norm == "batch" and parts.config["eval"]["transductive"]:
        return "transductive: the queries of a task are normalised together"
    return "none: a query is predicted alone"


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key not in ("name", "fingerprint")}
