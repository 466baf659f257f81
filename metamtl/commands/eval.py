"""`metamtl eval`: test a finished run; its own result stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

from metamtl.commands.finished import run_and_overrides

HELP = """usage: metamtl eval RUN [KEY=VALUE ...] [--config-dir FOLDER]

Test the run's best weights on held-out episodes, of other ways, shots, split or number if you say so.
The figures go to eval/<id>/ in the run's folder. --config-dir FOLDER says where the classes of options of your own are.

examples:
  metamtl eval outputs/RUN
  metamtl eval outputs/RUN eval.episodes=10000 task.shots=5
  metamtl eval outputs/RUN eval.split=val task.ways=20"""


def main(arguments: Sequence[str]) -> int:
    """Evaluate the run; raises UsageError for wrong overrides before torch is imported."""
    folder, overrides = run_and_overrides("eval", arguments)
    from metamtl.evaluation.run import evaluate_run

    evaluate_run(folder, overrides)
    return 0
