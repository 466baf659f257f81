"""One process of a run: builds, trains, tests and writes the result."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from metamtl.data.source import Source
from metamtl.engine.plan import Plan, resumed_plan
from metamtl.engine.world import World, join_world
from metamtl.evaluation.choice import with_options
from metamtl.evaluation.pictures import draw_pictures
from metamtl.evaluation.report import said, tested
from metamtl.families import Families, build_families
from metamtl.opening import fingerprint_of
from metamtl.runs.affinity_plot import plot_affinity
from metamtl.runs.config_file import write_config
from metamtl.runs.folder import RunFolder
from metamtl.runs.log import say
from metamtl.runs.metrics import MetricStream
from metamtl.runs.plots import plot_curves
from metamtl.runs.result import Record, Result, write_result
from metamtl.runs.robustness_plot import plot_robustness
from metamtl.trackers.group import TrackerGroup, build_trackers
from metamtl.trainer import checkpoint
from metamtl.trainer.loop import Trainer
from metamtl.trainer.progress import Display
from metamtl.trainer.relatedness import summed_up
from metamtl.trainer.run import Watch
from metamtl.trainer.selection import columns, described
from metamtl.trainer.signals import StopRequest, stop_on_signals
from metamtl.trainer.source import take_over


def run_session(
    config: Mapping[str, Any],
    sources: Mapping[str, Source],
    run: RunFolder | None,
    resume: bool,
    families: Families | None = None,
    watch: Watch | None = None,
) -> None:
    """This process's part of a run; `run` is None on processes other than the first.

    `families` are the run's objects where they have been built already, to see that they can be.
    """
    with join_world() as world, stop_on_signals() as stop:
        content, notes = _checkpoint(run, world) if resume else (None, [])
        set_threads(config["trainer"]["threads"] if content is None else content["threads"])
        families = families or build_families(config, sources)
        if content is not None:
            for name, parts in families.each.items():
                saved = content["plans"][name] if "plans" in content else content["engine"]  # once one for all
                parts.engine.plan = resumed_plan(Plan(**saved), parts.engine.plan, parts.device)
        with _records(config, run, content) as (metrics, trackers):
            trainer = Trainer(families, world, run, metrics, trackers, stop, watch)
            if content is not None:
                trainer.restore(content)
            transferred = take_over(families, world, run, fresh=content is None)
            if resume and run is not None:
                write_config(run.config_file, config)
            _announce(run, families, fingerprint_of(sources), world, notes)
            trainer.train()
            result = _test(families, world, run, trainer, stop, transferred)
            trackers.finish(result, "completed")


def set_threads(threads: int | None) -> None:
    """The number of threads of this process, where one is wanted; it is part of a result's last bits."""
    if threads is not None:
        torch.set_num_threads(threads)


def _checkpoint(run: RunFolder | None, world: World) -> tuple[dict[str, Any] | None, list[str]]:
    content, notes = checkpoint.load(run) if run is not None else (None, [])
    return world.from_first(content), notes


@contextmanager
def _records(
    config: Mapping[str, Any], run: RunFolder | None, content: dict[str, Any] | None
) -> Iterator[tuple[MetricStream | None, TrackerGroup]]:
    """The metric stream, cut back to where the checkpoint was, and the trackers, closed however the run ends."""
    if run is None:
        yield None, TrackerGroup({})
        return
    with ExitStack() as stack:
        metrics = stack.enter_context(MetricStream(run.metrics_file))
        metrics.truncate(0 if content is None else content["metrics_position"])
        trackers = build_trackers(config["logger"])
        trackers.start(run, config)
        try:
            yield metrics, trackers
        except BaseException:
            trackers.finish(None, "interrupted")
            raise


def _announce(run: RunFolder | None, families: Families, data: str, world: World, notes: list[str]) -> None:
    if run is None:
        return
    run.update_meta(
        device=str(families.first.device),
        processes=world.size,
        threads=torch.get_num_threads(),
        data=data,
    )
    display = Display("", 0, 0, visible=True)
    for note in notes:
        display.note(note)
    display.note(f"run {run.path} (process {os.getpid()}, {families.first.device})")


def _test(
    families: Families,
    world: World,
    run: RunFolder | None,
    trainer: Trainer,
    stop: StopRequest,
    transferred: dict[str, Any],
) -> Result:
    """Tests the weights that validation chose, and writes everything the run leaves."""
    progress = trainer.state.progress
    best = world.from_first(_best_weights(run, families, progress.best_step))
    families.module.load_state_dict(best)

    def heard(done: int, of: int) -> None:
        if world.size == 1:  # a process that stops alone would leave the others waiting
            stop.check()

    result, figures = tested(families, world, heard)
    result["train"] = {
        "steps": progress.total,
        "tasks_per_second": progress.tasks / max(progress.seconds, 1e-9),
        "seconds": progress.seconds,
        "data_wait": progress.waited / max(progress.seconds, 1e-9),
        "step_ms": 1e3 * progress.seconds / max(progress.total, 1),
    }
    if families.weighting is not None:
        result["train"]["weighting_ms"] = 1e3 * progress.weighing / max(progress.total, 1)
    assert progress.best_step is not None and progress.best_value is not None  # training ends with a validation
    if transferred:
        result["transfer"] = transferred
    if progress.chosen and run is not None:
        result["selection"] = columns(families, run, progress, result["test"])
    selected = "score" if families.weighting is not None else families.first.family.metric
    result["best"] = {"step": progress.best_step, f"val/{selected}": progress.best_value}
    if run is not None:
        if related := summed_up(run, families):
            result["relatedness"] = related
        write_result(run, result, figures)
        plot_curves(run)
        plot_affinity(run)
        plot_robustness(run)
        _draw(run, families, result)
        say(*said(families, result))
        if "selection" in result:
            say(described(result["selection"]))
        say(f"result {run.result_file}")
    return result


def _draw(run: RunFolder, families: Families, result: Result) -> None:
    tasks = families.config["trainer"]["pictures"]
    for name, parts in families.each.items() if tasks else ():
        record: Record = result if families.weighting is None else result["families"][name]
        options = record["choices"][0]["options"] if "choices" in record else {}
        shown = with_options(parts, options) if options else parts
        draw_pictures(shown, run.plots, families.prefix(name).replace("/", "-"), tasks)


def _best_weights(run: RunFolder | None, families: Families, step: int | None) -> dict[str, Any] | None:
    if run is None:
        return None
    checkpoint.load_best(run, families.module, step)
    return {name: tensor.cpu() for name, tensor in families.module.state_dict().items()}
