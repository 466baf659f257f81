"""One process of an evaluation: builds the learner, loads its best weights, tests and writes the figures."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch

from metamtl.algos.embedding import EmbeddingLearner
from metamtl.build import Parts
from metamtl.data.opening import task_shape
from metamtl.data.source import Source, TaskShape
from metamtl.engine.world import join_world
from metamtl.errors import UsageError
from metamtl.evaluation.report import said, tested
from metamtl.families import Families, build_families
from metamtl.runs.folder import EvaluationFolder, RunFolder
from metamtl.runs.result import read_result, write_result
from metamtl.trainer import checkpoint


def evaluate_session(
    config: Mapping[str, Any], sources: Mapping[str, Source], run: RunFolder, evaluation: EvaluationFolder | None
) -> None:
    """This process's part; `evaluation` is None on processes other than the first."""
    torch.set_num_threads(config["trainer"]["threads"] or run.meta()["threads"])
    with join_world() as world:
        families = build_trained(_by_its_kernels(config, run), sources, run)
        notes = checkpoint.load_best(run, families.module)
        result, figures = tested(families, world, lambda done, of: None)
        if evaluation is not None:
            print(*notes, sep="\n", end="\n" if notes else "", file=sys.stderr)
            device = str(families.first.device)
            evaluation.update_meta(device=device, processes=world.size, threads=torch.get_num_threads())
            write_result(evaluation, result, figures)
            print(*said(families, result), sep="\n")
            print(f"result {evaluation.result_file}")


def _by_its_kernels(config: Mapping[str, Any], run: RunFolder) -> Mapping[str, Any]:
    """The config without compiled kernels where the run was tested without: their last bits are others.

    What `trainer.fused` says otherwise stays.
    """
    if config["trainer"]["fused"] is not None or not run.result_file.is_file():
        return config
    result = read_result(run)
    tested_by = [record.get("engine", {}) for record in (result.get("families") or {"": result}).values()]
    if any(engine.get("fused") for engine in tested_by):
        return config
    return {**config, "trainer": {**config["trainer"], "fused": False}}


def build_trained(config: Mapping[str, Any], sources: Mapping[str, Source], run: RunFolder) -> Families:
    """The objects of a finished run, to be tested as `config` says; UsageError where a head has too few outputs."""
    families = build_families(config, sources, trained=task_shape(run.config()["task"]))
    for parts in families.each.values():
        _check_head(parts)
    return families


def _check_head(parts: Parts) -> None:
    """UsageError where the tasks have more ways than the learner's head."""
    ways = TaskShape.largest(parts.test_shape.ways)
    has_head = bool(parts.learner.stages) and not isinstance(parts.learner, EmbeddingLearner)
    if has_head and parts.family.classes and ways > parts.family.ways:
        raise UsageError(
            f"algo={parts.config['algo']['name']} has learnt a head for {parts.family.ways} ways, so it cannot be "
            f"tested at task.ways={ways}: train it with task.ways={ways}, or test at {parts.family.ways} or fewer."
        )
