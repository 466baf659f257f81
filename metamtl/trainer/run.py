"""A run from its config to its finished folder, new or resumed.

Data is opened and checked here before torch is imported (`metamtl.trainer.session` does that): a task that the data
cannot make is refused at once. What cannot be built or tested leaves no run folder behind.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metamtl.config.compose import merge
from metamtl.config.earlier import completed_run
from metamtl.config.sequence import refuse_sequence
from metamtl.data.source import Source
from metamtl.errors import Interrupted, MetamtlError, Pruned, UsageError
from metamtl.opening import fingerprint_of, open_sources
from metamtl.runs.files import write_json
from metamtl.runs.folder import RecordFolder, RunFolder
from metamtl.runs.lock import hold
from metamtl.runs.log import log_to, say
from metamtl.trainer.gains import add_gains
from metamtl.trainer.references import add_references, refuse_references, with_source
from metamtl.trainer.signals import interrupt_on_signals

if TYPE_CHECKING:
    from metamtl.families import Families

# hears the step and the figures (`val/accuracy`) of every validation, and may raise Pruned to end the run
Watch = Callable[[int, Mapping[str, float]], None]
# what a resumed run may change: how long and where it goes on, never what it learns from or is selected by
_LOOP = ("steps", "device", "pool", "checkpoint_every", "patience", "on_nan", "nan_limit")
RESUMABLE = (*(f"trainer.{key}" for key in _LOOP), "eval.episodes", "eval.gap_episodes", "logger", "paths")
STRETCHED = ("cosine", "linear")  # schedules that end with the last step


def train_run(
    config: dict[str, Any], command: Sequence[str], folder: Path | None = None, watch: Watch | None = None
) -> RunFolder | None:
    """Trains and tests as `config` says, in a new run folder, or as the multirun job whose `folder` is given.

    Returns the run's folder, on processes other than the first None.
    """
    refuse_references(config)
    refuse_sequence(config)
    config = _chosen(with_source(config, _train_alone, resume_run))
    if folder is not None:
        run = RunFolder.claim(folder, config, command)
        with _recorded(run):
            _carry_out(config, open_sources(config), run, resume=False, watch=watch)
        return run
    sources = open_sources(config)
    if not _first_process():
        _carry_out(config, sources, None, resume=False, watch=watch)
        return None
    families = _built(config, sources)
    run = RunFolder.create(Path(config["paths"]["outputs"]).expanduser(), config, command, run_label(config))
    with _recorded(run):
        _carry_out(config, sources, run, resume=False, families=families, watch=watch)
    return run


def resume_run(
    folder: Path, overrides: Sequence[str] = (), watch: Watch | None = None, command: Sequence[str] | None = None
) -> None:
    """Goes on with the run in `folder` from its last checkpoint; `overrides` may change what RESUMABLE names.

    `command` is recorded as what did it; None is that of this process.
    """
    run = RunFolder.open(folder)
    config = completed_run(run.config())
    if overrides and config["sequence"]:
        raise UsageError(f"{folder} learns stages in sequence, which go on as they began: leave out {overrides[0]}.")
    if overrides:
        lengths = (f"trainer.stages.{stage}.steps" for stage in config["trainer"]["stages"])
        config = merge(config, overrides, (*RESUMABLE, *lengths))
    if run.meta()["status"] == "completed" and not overrides:  # every process sees it, so none waits for another
        if _first_process():
            more = f"; raise trainer.steps to train on: metamtl resume {folder} trainer.steps=..."
            print(f"{folder} is complete{'' if config['sequence'] else more}")
        return
    sources = open_sources(config)
    refuse_other_data(sources, run)
    if not _first_process():
        _carry_out(config, sources, None, resume=True, watch=watch)
        return
    families = _built(config, sources)
    schedule = config["trainer"]["schedule"]["name"]
    if schedule in STRETCHED and config["trainer"]["steps"] > run.config()["trainer"]["steps"]:
        print(f"The {schedule} schedule now ends at step {config['trainer']['steps']}: the rate rises again from here.")
    with _recorded(run):
        run.resume(sys.argv if command is None else command)
        _carry_out(config, sources, run, resume=True, families=families, watch=watch)


def run_label(config: Mapping[str, Any]) -> str:
    """What a run's id says after its time: method, data and seed, or the user's own label."""
    own = config.get("label")
    data = "+".join(config["families"]) or config["data"]["name"]
    return own or f"{config['algo']['name']}-{data}-s{config['seed']}"


def refuse_other_data(sources: Mapping[str, Source], run: RecordFolder) -> None:
    """MetamtlError where the data is not what the run was trained on: classes may have changed their split since."""
    trained, now = run.meta().get("data"), fingerprint_of(sources)
    if trained is not None and trained != now:
        names = ", ".join(source.name for source in sources.values())
        raise MetamtlError(
            f"The data set {names} has changed since {run.path} was started (its fingerprint is now "
            f"{now[:12]}, not {trained[:12]}), so classes that were trained on may now be held out: "
            "restore the data, or start a new run."
        )


def _carry_out(
    config: dict[str, Any],
    sources: Mapping[str, Source],
    run: RunFolder | None,
    resume: bool,
    families: Families | None = None,
    watch: Watch | None = None,
) -> None:
    if config["sequence"]:
        from metamtl.trainer.sequence import run_sequence

        assert run is not None  # sequences are refused under torchrun
        run_sequence(config, run, lambda own, place: train_run(own, sys.argv, place), resume_run)
        return
    from metamtl.trainer.session import run_session

    run_session(config, sources, run, resume, families, watch)
    if run is not None and config["references"] == "auto":
        compare = add_references if config["families"] else add_gains
        say(*compare(run, config, _train_alone, resume_run).splitlines())


def _train_alone(config: dict[str, Any]) -> RunFolder:
    run = train_run(config, sys.argv)
    assert run is not None  # references are refused under torchrun
    return run


def _chosen(config: dict[str, Any]) -> dict[str, Any]:
    """The config as it is, or where transfer=auto with what it chose."""
    if "choice" in config["transfer"].get("auto", {"choice": None}) or config["families"] or config["sequence"]:
        return config
    if not _first_process() or "RANK" in os.environ:
        raise UsageError("transfer=auto does not go with torchrun: run it in one process.")
    (source,) = open_sources(config).values()
    from metamtl.trainer.choice import chosen

    return chosen(config, source, _train_alone, resume_run)


def _built(config: dict[str, Any], sources: Mapping[str, Source]) -> Families:
    """Before a folder is made or touched: a network that does not fit the data leaves none behind, or a run as it was.

    The run goes on with what is built here.
    """
    from metamtl.evaluation.choice import refuse_other_weights
    from metamtl.families import build_families
    from metamtl.trainer.ways import warn_of_untrained_outputs

    if config["sequence"]:
        from metamtl.trainer.sequence import refuse_strategies

        refuse_strategies(config)
    families = build_families(config, sources)
    for parts in families.each.values():
        refuse_other_weights(parts)
        warn_of_untrained_outputs(parts)
    return families


@contextmanager
def _recorded(run: RunFolder) -> Iterator[None]:
    """Holds the run; meta.json says how it ended, log.txt has the traceback, the user the next command."""
    # under torchrun, which tells all processes to end when one has, a process that waits must end at once
    with nullcontext() if "RANK" in os.environ else interrupt_on_signals(), hold(run.path):
        before = run.meta()
        try:
            with log_to(run.log_file):
                yield
        except (Interrupted, KeyboardInterrupt) as error:
            advice = f"Go on with: metamtl resume {shlex.quote(str(run.path))}"
            # of a run within this one, a stage or a reference, this one is what goes on
            reason = str(error).partition(" Go on with: ")[0] or "Stopped by the keyboard."
            run.finish("interrupted", reason)
            number = error.exit_code - 128 if isinstance(error, Interrupted) else 2
            raise Interrupted(f"{reason} {advice}", number) from error
        except Pruned as verdict:
            run.finish("pruned", str(verdict))
            raise
        except Exception as error:
            if isinstance(error, UsageError) and before["status"] == "completed":
                write_json(run.meta_file, before)  # what was asked of it was refused, and its result stands
                raise
            run.finish("failed", str(error) if isinstance(error, MetamtlError) else f"{type(error).__name__}: {error}")
            raise
        run.finish("completed")


def _first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"
