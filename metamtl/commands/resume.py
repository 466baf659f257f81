"""`metamtl resume`: continue a run that was stopped, killed or is to be longer."""

from __future__ import annotations

from collections.abc import Sequence

from metamtl.commands.finished import run_and_overrides

HELP = """usage: metamtl resume RUN [KEY=VALUE ...]

Continue from the run's last checkpoint, as if it had never been stopped. trainer.steps may be raised.

examples:
  metamtl resume outputs/RUN
  metamtl resume outputs/RUN trainer.steps=20000
  torchrun --nproc-per-node 2 -m metamtl resume outputs/RUN"""


def main(arguments: Sequence[str]) -> int:
    """Resume the run; raises UsageError for wrong overrides before torch is imported."""
    folder, overrides = run_and_overrides("resume", arguments)
    from metamtl.trainer.run import resume_run

    resume_run(folder, overrides)
    return 0
