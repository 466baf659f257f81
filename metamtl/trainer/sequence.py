"""A run over stages in order: each is a run of its own in `stages/<number>/`, with the one before as its source.

After every stage all stages' test examples are met with its weights: the matrix of accuracies. Selection within a
stage sees that stage's validation alone. The last weights become the run's best.pt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metamtl.build import Parts
from metamtl.config.compose import merge
from metamtl.config.sequence import stage_configs, stage_name
from metamtl.data.examples import ExampleSource
from metamtl.data.source import IntArray, Split
from metamtl.engine.world import World
from metamtl.errors import MetamtlError, UsageError
from metamtl.evaluation.continual import acc_interval, mean_interval, sequence_figures
from metamtl.evaluation.protocol import EpisodeFigures, episodes_id, evaluate_episodes, summaries
from metamtl.evaluation.report import said, tested
from metamtl.families import Families, build_families
from metamtl.opening import open_sources
from metamtl.registry import lookup
from metamtl.runs import checkpoints
from metamtl.runs.folder import RunFolder
from metamtl.runs.log import say
from metamtl.runs.metric_names import in_percent
from metamtl.runs.result import Result, read_result, summary, write_result
from metamtl.runs.sequence_plots import plot_sequence
from metamtl.runs.units import readable
from metamtl.trainer import checkpoint
from metamtl.transfer.base import Strategy
from metamtl.transfer.finetune import FineTune

Train = Callable[[dict[str, Any], Path], object]
Resume = Callable[[Path], None]


def run_sequence(config: Mapping[str, Any], run: RunFolder, train: Train, resume: Resume) -> None:
    """Trains what is left of the stages, tests after each, and writes the run's result."""
    stages = stage_configs(config, merge)
    judges = [_judge(stage) for stage in stages]
    rows = [_tested(judges, "test")]  # untrained, as every stage's seed is the run's
    folders: list[RunFolder] = []
    for number, stage in enumerate(stages, start=1):
        before = folders[-1] if folders else None
        folders.append(_stage(run.path / "stages" / str(number), {**stage, **_carried(config, before)}, train, resume))
        _put(folders[-1], judges)
        rows.append(_tested(judges, "test"))
    _write(config, run, folders, judges, rows)


def refuse_strategies(config: Mapping[str, Any]) -> None:
    """UsageError where a strategy cannot go from stage to stage."""
    for name in _strategies(config):
        strategy = _class_of(name)
        if strategy.sources == "several":
            raise UsageError(f"transfer={name} takes several sources; a stage of a sequence has the one before it.")
        if strategy.condition is not Strategy.condition:
            raise UsageError(f"transfer={name} embeds a target's one task; a sequence is tested on several.")
        if strategy.reshape is not Strategy.reshape:
            raise UsageError(f"transfer={name} changes layers, which the next stage would change again.")


def _stage(folder: Path, config: dict[str, Any], train: Train, resume: Resume) -> RunFolder:
    if not (folder / "meta.json").exists():
        train(config, folder)
    elif RunFolder.open(folder).meta()["status"] != "completed":
        resume(folder)
    run = RunFolder.open(folder)
    if run.meta()["status"] != "completed":
        raise MetamtlError(f"The stage {folder} did not finish: `metamtl resume {folder.parents[1]}` tries again.")
    return run


def _carried(config: Mapping[str, Any], before: RunFolder | None) -> dict[str, Any]:
    """The section `transfer` of a stage: the run's strategies, on weights that go on where no other says how."""
    own = _strategies(config)
    if before is None:
        first = {name: options for name, options in own.items() if _class_of(name).sources in ("none", "optional")}
        return {"transfer": {"source": None, **first} if first else {"name": "none"}}
    going_on = {"finetune": {"name": "finetune", "backbone_rate": 1.0, "head": True}}
    settled = any(_class_of(name).exclusive == FineTune.exclusive for name in own)
    return {"transfer": {"source": str(before.path), **({} if settled else going_on), **own}}


def _class_of(name: str) -> type[Strategy]:
    found: type[Strategy] = lookup("transfer", name)
    return found


def _strategies(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {name: options for name, options in config["transfer"].items() if isinstance(options, Mapping)}


# ---- tests ----


def _judge(config: dict[str, Any]) -> Parts:
    """A stage's objects without any transfer, to meet its examples with any stage's weights."""
    return build_families(alone := {**config, "transfer": {"name": "none"}}, open_sources(alone)).first


def _put(run: RunFolder, judges: Sequence[Parts]) -> None:
    weights = _weights(run)
    for parts in judges:
        parts.learner.load_state_dict(weights)


def _weights(run: RunFolder) -> dict[str, Any]:
    found = checkpoint.learner_of(checkpoints.load(run.checkpoints, "best").payload)
    return {name: tensor for name, tensor in found.items() if not name.startswith("terms.")}


def _tested(judges: Sequence[Parts], split: Split) -> list[EpisodeFigures]:
    world = World(0, 1)
    return [evaluate_episodes(parts, world, split, parts.config["eval"]["episodes"]) for parts in judges]


def _write(
    config: Mapping[str, Any],
    run: RunFolder,
    folders: Sequence[RunFolder],
    judges: Sequence[Parts],
    rows: Sequence[Sequence[EpisodeFigures]],
) -> None:
    families = build_families(config, open_sources(config))
    families.module.load_state_dict(_weights(folders[-1]))
    metric = families.first.family.metric
    means = [[summaries(parts, one)[metric] for parts, one in zip(judges, row, strict=True)] for row in rows]
    matrix = np.array([[one["mean"] for one in row] for row in means])
    names = [stage_name(own) for own in config["sequence"]]
    result, figures = _result(families, folders, judges, rows[-1])
    interval = acc_interval([one[metric] for one in rows[-1]], _examples(judges, rows[-1], metric))
    result["sequence"] = {"stages": names, **sequence_figures(matrix, interval)}
    checkpoint.save_best(run, families.module, int(result["train"]["steps"]))
    write_result(run, result, figures)
    plot_sequence(run, matrix.tolist(), names, metric)
    say(*said(families, result), _said(result["sequence"], metric), f"result {run.result_file}")


def _result(
    families: Families, folders: Sequence[RunFolder], judges: Sequence[Parts], last: Sequence[EpisodeFigures]
) -> tuple[Result, EpisodeFigures]:
    """The record of the last weights, whose test examples are those of all stages, one stage after another."""
    result, _ = tested(families, World(0, 1), lambda done, of: None)
    figures = {name: np.concatenate([one[name] for one in last]) for name in last[0]}
    result["test"] = summaries(families.first, figures)
    for name, values in figures.items():
        examples = np.concatenate(_examples(judges, last, name))
        result["test"][name]["ci95"] = mean_interval(values, examples)
    ids = [episodes_id(parts, "test", parts.test_shape, parts.config["eval"]["episodes"]) for parts in judges]
    result["episodes_id"] = hashlib.sha256(":".join(ids).encode()).hexdigest()[:16]
    records = [read_result(folder) for folder in folders]
    seconds = sum(record["train"]["seconds"] for record in records)
    done = sum(record["train"]["seconds"] * record["train"]["tasks_per_second"] for record in records)
    result["train"] = {
        "steps": sum(record["train"]["steps"] for record in records),
        "tasks_per_second": done / max(seconds, 1e-9),
        "seconds": seconds,
        "data_wait": sum(r["train"]["seconds"] * r["train"]["data_wait"] for r in records) / max(seconds, 1e-9),
    }
    metric = families.first.family.metric
    held_out = [summaries(p, one)[metric]["mean"] for p, one in zip(judges, _tested(judges, "val"), strict=True)]
    result["best"] = {"step": result["train"]["steps"], f"val/{metric}": summary(np.array(held_out))["mean"]}
    if "transfer" in records[-1]:
        result["transfer"] = records[-1]["transfer"]
    return result, figures


def _examples(judges: Sequence[Parts], row: Sequence[EpisodeFigures], metric: str) -> list[IntArray]:
    """A number for each test figure of each stage, equal for one picture; of episodes every figure has its own."""
    origins: list[str] = []
    found = []
    for number, (parts, figures) in enumerate(zip(judges, row, strict=True)):
        source, items = parts.source, np.arange(len(figures[metric]))
        origin = f"stage {number}"
        if isinstance(source, ExampleSource):
            origin, items = source.originals, source.items("test")
        origins += [origin] if origin not in origins else []
        found.append(items + (origins.index(origin) << 40))  # more than any set has items
    return found


def _said(record: Mapping[str, Any], metric: str) -> str:
    mean = "ACC" if in_percent(metric) else f"mean {metric}"
    parts = [f"{mean} {readable(metric, record['acc']['mean'], record['acc']['ci95'])}"]
    for key, name in (("bwt", "BWT"), ("fwt", "FWT"), ("forgetting", "forgetting")):
        if record[key] is not None:
            parts.append(f"{name} {readable(metric, record[key], sign=True)}")
    return f"after {len(record['stages'])} stages: {', '.join(parts)}"
