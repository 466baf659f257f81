"""`metamtl sweep`: search hyper-parameters; a study that survives a kill and may be shared by many commands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from metamtl.errors import UsageError

HELP = """usage: metamtl sweep space.KEY=EXPRESSION ... [KEY=VALUE ...] [sweep.OPTION=VALUE ...] [--config-dir FOLDER]
       metamtl sweep --continue SWEEP [sweep.OPTION=VALUE ...]

Train trials with other values of the keys under `space.`, judged by validation alone, then run the winners again
with new seeds and test those. KEY=VALUE is as in `metamtl train`; docs/sweep.md describes every sweep.OPTION.

  log(a,b)  uniform(a,b)    real numbers, even in their logarithm or in themselves
  int(a,b)  logint(a,b)     whole numbers
  choice(a,b,...)           one of these

  --continue SWEEP      go on with the sweep in this folder: it was stopped, or sweep.trials is to be more
  --config-dir FOLDER   a folder of your own options, as for `metamtl train`

examples:
  metamtl sweep algo=maml data=sinusoid space.algo.inner_lr="log(1e-3,1)" sweep.trials=50 sweep.workers=2
  metamtl sweep space.trainer.optimizer.lr="log(1e-4,1e-1)" space.backbone="choice(conv4,resnet12)" sweep.pruner=median
  metamtl sweep --continue outputs/SWEEP sweep.trials=100"""


def main(arguments: Sequence[str]) -> int:
    """Carry out the sweep, or go on with one; raises UsageError with every problem before torch is imported."""
    folder, config_dir, words = _parse(arguments)
    if "RANK" in os.environ:
        raise UsageError("metamtl sweep does not go with torchrun: sweep.workers trains several trials at once.")
    from metamtl.sweep.storage import require_optuna

    require_optuna()
    from metamtl.sweep import run

    if folder is not None:
        run.go_on(folder, words)
    else:
        run.new(words, config_dir)
    return 0


def _parse(arguments: Sequence[str]) -> tuple[Path | None, Path | None, list[str]]:
    """The sweep to go on with, the folder of the user's options, and all that is KEY=VALUE."""
    found: dict[str, str] = {}
    words: list[str] = []
    problems: list[str] = []
    rest = iter(arguments)
    for word in rest:
        flag, sign, value = word.partition("=")
        flag = {"-cd": "--config-dir", "-c": "--continue"}.get(flag, flag)
        if flag in ("--continue", "--config-dir"):
            found[flag] = value if sign else next(rest, "")
            problems += [] if found[flag] else [f"{flag} takes a folder."]
        elif word.startswith("-"):
            problems.append(f"metamtl sweep {word}: no such flag; `metamtl sweep --help` says what there is.")
        else:
            words.append(word)
    if "--continue" in found and "--config-dir" in found:
        problems.append("--config-dir: a sweep that goes on keeps its options.")
    if problems:
        raise UsageError(*problems)
    folders = [Path(found[flag]).expanduser() if flag in found else None for flag in ("--continue", "--config-dir")]
    return folders[0], folders[1], words
