"""`metamtl eval`: tests a finished run again, on other episodes, shapes or splits, in a folder of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from metamtl.config.compose import merge
from metamtl.config.earlier import completed_run
from metamtl.data.source import Source
from metamtl.errors import Interrupted, MetamtlError, UsageError
from metamtl.opening import open_sources
from metamtl.runs.folder import EvaluationFolder, RunFolder
from metamtl.runs.log import log_to
from metamtl.trainer.run import refuse_other_data
from metamtl.trainer.signals import interrupt_on_signals

# what an evaluation may change: the episodes and how they are met, never what was learnt
_MACHINE = ("trainer.device", "trainer.threads", "trainer.fused")
CHANGEABLE = ("task", "eval", *_MACHINE, "algo.test_lr", "algo.test_steps", "paths", "engine")


def evaluate_run(folder: Path, overrides: Sequence[str] = ()) -> None:
    """Tests the best weights of the run in `folder`; the run's own result stays as it is."""
    run = RunFolder.open(folder)
    config = merge(completed_run(run.config()), overrides, CHANGEABLE)
    _refuse_other_tasks(config, overrides)
    sources = open_sources(config)
    refuse_other_data(sources, run)
    _refuse_what_cannot_be_built(config, sources, run)
    if os.environ.get("RANK", "0") != "0":
        _evaluate(config, sources, run, None)
        return
    if not (run.checkpoints / "best.pt").exists():
        raise MetamtlError(f"{folder} has no best.pt yet: it has not reached its first validation.")
    evaluation = run.new_evaluation(config, sys.argv, label=config["eval"]["split"])
    with nullcontext() if "RANK" in os.environ else interrupt_on_signals():
        try:
            with log_to(evaluation.log_file):
                _evaluate(config, sources, run, evaluation)
        except (Interrupted, KeyboardInterrupt) as error:
            evaluation.finish("interrupted", str(error) or "Stopped by the keyboard.")
            raise
        except Exception as error:
            evaluation.finish("failed", f"{type(error).__name__}: {error}")
            raise
        evaluation.finish("completed")


def _refuse_other_tasks(config: dict[str, Any], overrides: Sequence[str]) -> None:
    if config["families"] and any(text.startswith("task.") for text in overrides):
        raise UsageError("task: a run of several families is tested on the tasks that each was trained for.")


def _refuse_what_cannot_be_built(config: dict[str, Any], sources: Mapping[str, Source], run: RunFolder) -> None:
    from metamtl.evaluation.session import build_trained

    build_trained(config, sources, run)


def _evaluate(
    config: dict[str, Any], sources: Mapping[str, Source], run: RunFolder, evaluation: EvaluationFolder | None
) -> None:
    from metamtl.evaluation.session import evaluate_session

    evaluate_session(config, sources, run, evaluation)
