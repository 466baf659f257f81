"""One process of an evaluation: builds the learner, loads its best weights, tests and writes the figures."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch

from metamtl.algos.embedding import EmbeddingLearner
from metamtl.build import Parts, build_parts
from metamtl.data.opening import task_shape
from metamtl.data.source import Source, TaskShape
from metamtl.engine.world import join_world
from metamtl.errors import UsageError
from metamtl.evaluation.report import tested
from metamtl.runs.folder import EvaluationFolder, RunFolder
from metamtl.runs.result import describe, write_result
from metamtl.trainer import checkpoint


def evaluate_session(
    config: Mapping[str, Any], source: Source, run: RunFolder, evaluation: EvaluationFolder | None
) -> None:
    """This process's part; `evaluation` is None on processes other than the first."""
    torch.set_num_threads(config["trainer"]["threads"] or run.meta()["threads"])
    with join_world() as world:
        parts = build_trained(config, source, run)
        notes = checkpoint.load_best(run, parts.learner)
        result, figures = tested(parts, world, lambda done, of: None)
        if evaluation is not None:
            print(*notes, sep="\n", end="\n" if notes else "", file=sys.stderr)
            evaluation.update_meta(device=str(parts.device), processes=world.size, threads=torch.get_num_threads())
            write_result(evaluation, result, figures)
            print(describe(result, parts.family.metric))
            print(f"result {evaluation.result_file}")


def build_trained(config: Mapping[str, Any], source: Source, run: RunFolder) -> Parts:
    """The objects of a finished run, to be tested as `config` says."""
    return build_parts(config, source, trained=task_shape(run.config()["task"]))


def check_head(parts: Parts) -> None:
    """UsageError where the tasks have more ways than the learner's head."""
    ways = TaskShape.largest(parts.test_shape.ways)
    if not isinstance(parts.learner, EmbeddingLearner) and parts.family.classes and ways > parts.family.outputs:
        raise UsageError(
            f"algo={parts.config['algo']['name']} has learnt a head for {parts.family.outputs} ways, so it cannot be "
            f"tested at task.ways={ways}: train it with task.ways={ways}, or test at {parts.family.outputs} or fewer."
        )
