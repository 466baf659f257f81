"""`metamtl train`: compose, check, then run the job through Hydra, whose own powers stay whole.

The run folder is metamtl's: Hydra's logging and its `.hydra` folder are off.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metamtl.errors import UsageError

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """usage: metamtl train [KEY=VALUE ...] [-m] [--config-dir FOLDER] [--cfg job]

Compose options and values, train, test on held-out classes, and leave a run folder under paths.outputs.
`metamtl list` names the options; --cfg job shows every key of the config they make.

  -m, --multirun        run every combination of comma-separated values; hydra/launcher=joblib runs several at once
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

QUIET = (
    "hydra/job_logging=disabled",
    "hydra/hydra_logging=disabled",
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
        except Exception as error:
            self.failure.append(error)


def main(arguments: Sequence[str]) -> int:
    """Check, then run; raises UsageError with every problem before torch is imported."""
    flags, parsed = _parse(arguments)
    config_dir = Path(parsed.config_dir) if parsed.config_dir else None
    informs = parsed.hydra_help or parsed.shell_completion or parsed.info is not None
    if not informs:
        from metamtl.config.compose import check

        check(parsed.overrides, config_dir, parsed.multirun)
    job = Job(["metamtl", "train", *arguments], config_dir)
    _through_hydra(job, [*flags, *QUIET, "hydra.run.dir=.", *parsed.overrides])
    if job.failure:
        raise job.failure[0]
    return 0


def run(config: DictConfig, command: Sequence[str], config_dir: Path | None, folder: Path | None) -> None:
    """Train with the config of one job that Hydra composed; `folder` is None outside a multirun."""
    from hydra.core.hydra_config import HydraConfig

    from metamtl.config.compose import settle_job
    from metamtl.config.library import Library

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
    try:
        hydra.main(config_path=str(paths.own_folder()), config_name=PRIMARY, version_base=None)(job)()
    finally:
        sys.argv = shell
