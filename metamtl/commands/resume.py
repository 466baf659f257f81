"""`metamtl resume`: continue a run that was stopped, killed or is to be longer, or finish a multirun."""

from __future__ import annotations

from collections.abc import Sequence

from metamtl.commands.finished import run_and_overrides
from metamtl.commands.multirun_request import FILE as MULTIRUN
from metamtl.errors import UsageError

SWEEP = "sweep.yaml"

HELP = """usage: metamtl resume RUN [KEY=VALUE ...] [--config-dir FOLDER]
       metamtl resume MULTIRUN

Continue from the run's last checkpoint, as if it had never been stopped. trainer.steps may be raised.
Of the folder of a multirun (`train -m`), complete runs stay as they are, those that were stopped or failed go on,
and those that had not begun are run. --config-dir FOLDER says where the classes of options of your own are; a multirun
remembers it.

examples:
  metamtl resume outputs/RUN
  metamtl resume outputs/MULTIRUN
  metamtl resume outputs/RUN trainer.steps=20000
  torchrun --nproc-per-node 2 -m metamtl resume outputs/RUN"""


def main(arguments: Sequence[str]) -> int:
    """Resume the run or the multirun; raises UsageError for wrong overrides before torch is imported."""
    folder, overrides = run_and_overrides("resume", arguments)
    if (folder / MULTIRUN).is_file():
        if overrides:
            raise UsageError(
                f"{folder} is a multirun, which goes on as it began: leave out {overrides[0]}, or resume one of its "
                "runs."
            )
        from metamtl.commands.train import finish_multirun

        return finish_multirun(folder)
    if (folder / SWEEP).is_file():
        raise UsageError(f"{folder} is a sweep: go on with `metamtl sweep --continue {folder}`.")
    from metamtl.trainer.run import resume_run

    resume_run(folder, overrides)
    return 0
