"""The result of a run or an evaluation: the record that result.json holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metamtl.build import Parts
from metamtl.data.inputs import describe_inputs
from metamtl.data.source import Split
from metamtl.engine.world import World
from metamtl.evaluation.protocol import EpisodeFigures, episodes_id, evaluate_episodes
from metamtl.runs.result import Model, Result, summary

Heard = Callable[[int, int], None]


def tested(parts: Parts, world: World, after_block: Heard) -> tuple[Result, EpisodeFigures]:
    """The figures of the config's test episodes, with all that says how they came about."""
    options = parts.config["eval"]
    split: Split = options["split"]
    figures = evaluate_episodes(parts, world, split, options["episodes"], after_block)
    metric = parts.family.metric
    result = Result(
        test={name: summary(values) for name, values in figures.items()},
        episodes_id=episodes_id(parts, split, parts.test_shape, options["episodes"]),
        split=split,
        task=dict(parts.config["task"]),
        model=_model(parts),
        normalisation=_normalisation(parts),
        transduction=_transduction(parts),
        engine={"tasks": parts.engine.how},
        data={"name": parts.source.name, "fingerprint": parts.source.fingerprint, **_plain(parts.source.facts)},
        inputs=describe_inputs(parts.source),
    )
    # a shape that the meta-train classes cannot make has no gap
    if options["gap_episodes"] >= 2 and not parts.source.problems("train", parts.test_shape):
        seen = evaluate_episodes(parts, world, "train", options["gap_episodes"], after_block)
        result["meta_train"] = {name: summary(values) for name, values in seen.items()}
        result["gap"] = {metric: result["meta_train"][metric]["mean"] - result["test"][metric]["mean"]}
    return result, figures


def _model(parts: Parts) -> Model:
    weights = list(parts.learner.parameters())
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
