"""`metamtl train`: compose, check, then run the job through Hydra, whose own powers stay whole.

The run folder is metamtl's: Hydra's logging and its `.hydra` folder are off.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metamtl.errors import Interrupted, UsageError
from metamtl.registry import use_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from metamtl.config.compose import Plan

HELP = """usage: metamtl train [KEY=VALUE ...] [-m] [--config-dir FOLDER] [--cfg job]

Compose options and values, train, test on held-out classes, and leave a run folder under paths.outputs.
`metamtl list` names the options; --cfg job shows every key of the config they make.

  -m, --multirun        run every combination of comma-separated values; hydra/launcher=joblib runs several at once;
                        `metamtl resume FOLDER` finishes one that was stopped
  --config-dir FOLDER   a folder of your own options: algo/NAME.yaml, data/NAME.yaml, experiment/NAME.yaml ...
  --cfg job|hydra|all   print the config instead of running it; --package trainer prints a part, --resolve fills in ${}
  --info                print how the config was composed
  --hydra-help          the rest of Hydra's flags

Precedence: algo < data < recipe for the pair < experiment < what you type.

examples:
  metamtl train
  metamtl train algo=maml data=omniglot task.shots=5 seed=1
  metamtl train algo=maml trainer.steps=100 trainer.device=cpu label=trial
  metamtl train -m algo=maml,protonet,anil seed=0,1,2 hydra/launcher=joblib hydra.launcher.n_jobs=2
  metamtl train --config-dir my_options experiment=mine
  torchrun --nproc-per-node 2 -m metamtl train algo=maml"""

# `none` leaves logging as it is; Hydra's `disabled` would silence our own loggers too.
QUIET = (
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
    "hydra.output_subdir=null",
    "hydra.job.chdir=false",
)


@dataclass
class Job:
    """What Hydra calls for one run; it keeps the failure, so that Hydra prints no traceback of its own."""

    command: Sequence[str]
    config_dir: Path | None
    failure: list[BaseException] = field(default_factory=list)

    def __call__(self, config: DictConfig) -> None:
        """Run the job with the config that Hydra composed."""
        try:
            run(config, self.command, self.config_dir, None)
        except (Exception, Interrupted) as error:
            self.failure.append(error)


def main(arguments: Sequence[str]) -> int:
    """Check, then run; raises UsageError with every problem before torch is imported."""
    flags, parsed = _parse(arguments)
    config_dir = Path(parsed.config_dir) if parsed.config_dir else None
    if parsed.multirun and (parsed.cfg or parsed.info is not None):
        raise UsageError("--cfg and --info show one run: leave -m out, and give one value to each key.")
    job = Job(["metamtl", "train", *arguments], config_dir)
    if parsed.hydra_help or parsed.shell_completion or parsed.info is not None:
        _through_hydra(job, [*flags, *QUIET, *parsed.overrides])
        return 0
    from metamtl.config.compose import plan

    planned = plan(parsed.overrides, config_dir, parsed.multirun)
    if planned.multirun and parsed.cfg is None:
        from metamtl.commands.multirun_request import remember

        _refuse_torchrun()
        folder = _sweep_folder(planned.config, parsed.overrides).absolute()
        remember(folder, arguments)
        return _multirun(folder, planned, flags, parsed.overrides, config_dir, again=False)
    _through_hydra(job, [*flags, *QUIET, "hydra.run.dir=.", *parsed.overrides])
    if job.failure:
        raise job.failure[0]
    return 0


def finish_multirun(folder: Path) -> int:
    """Brings the multirun in `folder` to its end: complete runs stay, stopped ones go on, the others begin."""
    from metamtl.commands.multirun_request import recall
    from metamtl.config.compose import plan

    _refuse_torchrun()
    folder = folder.absolute()
    flags, parsed = _parse(recall(folder))
    config_dir = Path(parsed.config_dir) if parsed.config_dir else None
    planned = plan(parsed.overrides, config_dir, parsed.multirun)
    return _multirun(folder, planned, flags, parsed.overrides, config_dir, again=True)


def _multirun(
    folder: Path, planned: Plan, flags: Sequence[str], overrides: Sequence[str], config_dir: Path | None, again: bool
) -> int:
    from metamtl.commands.multirun import SweepJob, begin_again, no_secrets_in_hydras_record, stoppable, summary
    from metamtl.config.library import Library
    from metamtl.config.overrides import forced
    from metamtl.runs.lock import hold

    overrides, forced_keys = forced(overrides, Library.load(config_dir))
    job = SweepJob(folder, config_dir, run, forced_keys, again)
    workers = _joblib(folder) if planned.launcher == "joblib" else []
    with hold(folder):
        if again:
            begin_again(folder)
        try:
            with stoppable(folder), no_secrets_in_hydras_record():
                _through_hydra(job, [*flags, *QUIET, *workers, *overrides, f"hydra.sweep.dir={_quoted(folder)}"])
        finally:
            line, code = summary(folder)
            print(line, flush=True)
    return code


def _refuse_torchrun() -> None:
    if "RANK" in os.environ:
        raise UsageError("-m does not go with torchrun: start each run by its own torchrun.")


def _joblib(folder: Path) -> list[str]:
    """Have joblib's workers watch this process from their start; otherwise idle ones would outlive it."""
    return [
        "+hydra.launcher.initializer={_target_: hydra.utils.get_method, path: metamtl.commands.multirun.follow}",
        f"+hydra.launcher.initargs=[{os.getpid()},{_quoted(folder)}]",
    ]


def _sweep_folder(config: Mapping[str, Any], overrides: Sequence[str]) -> Path:
    """A new folder under paths.outputs, or the user's hydra.sweep.dir if it is empty or new."""
    from metamtl.runs.folder import new_sweep

    given = [text.partition("=")[2].strip("'\"") for text in overrides if text.startswith("hydra.sweep.dir=")]
    if not given:
        names = (config[group].get("name") for group in ("algo", "data"))
        return new_sweep(Path(config["paths"]["outputs"]), config["label"] or "-".join(filter(None, names)))
    folder = Path(given[-1]).expanduser().absolute()
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"hydra.sweep.dir={given[-1]} is not empty; name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run(config: DictConfig, command: Sequence[str], config_dir: Path | None, folder: Path | None) -> None:
    """Train with the config of one job that Hydra composed; `folder` is None outside a multirun."""
    from hydra.core.hydra_config import HydraConfig

    from metamtl.config.compose import settle_job
    from metamtl.config.library import Library

    if config_dir is not None:
        use_folder(config_dir.expanduser())
    composed = HydraConfig.get()
    settled, problems = settle_job(
        config, dict(composed.runtime.choices), list(composed.overrides.task), Library.load(config_dir)
    )
    if problems:
        raise UsageError(*problems)
    from metamtl.trainer.run import train_run

    train_run(settled, command, folder)


def _parse(arguments: Sequence[str]) -> tuple[list[str], argparse.Namespace]:
    """The flags, and all that Hydra's own parser reads; overrides may stand before, between and after flags."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.prog = "metamtl train"
    parsed = parser.parse_intermixed_args(list(arguments))
    flags = list(arguments)
    for override in parsed.overrides:
        flags.remove(override)
    return flags, parsed


def _through_hydra(job: Any, arguments: Sequence[str]) -> None:
    import hydra

    from metamtl.config import paths, sources
    from metamtl.config.keys import PRIMARY

    sources.register()
    shell = sys.argv
    sys.argv = ["metamtl train", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing and exiting
    try:
        hydra.main(config_path=str(paths.own_folder()), config_name=PRIMARY, version_base=None)(job)()
    finally:
        sys.argv = shell


def _quoted(path: Path) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(str(path), Quote.single).with_quotes()
