"""`metamtl bench`: what metamtl costs, beside the peers that are installed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from metamtl.errors import UsageError

SUITES = ("engine", "data", "eval", "startup")
ORDERS = ("first", "second")
DEVICES = ("cpu", "cuda")

HELP = """usage: metamtl bench engine|data|eval|startup [--peers] [--json FILE] [KEY=VALUE ...]

Time metamtl, and with --peers the peers that are installed, in turn in one run; medians and ratios.

  engine    meta-gradients of MAML at the shapes S1 to S6, with their distance from a plain loop in float64
  data      episodes a second, and the share of a MAML step that waits for data
  eval      a test of 10,000 episodes on cached features
  startup   from the command to its first line, and to the first step of training

  --peers           higher, torchopt, learn2learn, torchmeta and JAX where installed; plain loops and vmap always
  --json FILE       write the figures there
  --repeat N        rounds (5); every round runs each contender in turn
  --shapes S1,S6    these shapes alone (engine); KEY=VALUE adds one of your own, by the keys of metamtl train
  --order O         first or second, or both as first,second (engine; second)
  --engine A,B      values of the key engine to time, one contender each, or overrides joined by + (engine; auto)
  --device NAME     cpu, or cuda for the GPU (engine; cpu)
  --memory S1,S3    shapes whose peak memory is measured at 1, 5 and 10 inner steps, or all, or none (engine; S2)

examples:
  metamtl bench engine --peers --json bench.json
  metamtl bench engine --shapes S3 --memory S3 --engine auto,loop,engine=loop+trainer.threads=1
  metamtl bench engine data=omniglot backbone=conv4 task.shots=5 trainer.meta_batch=8
  metamtl bench data --peers paths.data=~/data"""


def main(arguments: Sequence[str]) -> int:
    """Run one suite; raises UsageError for wrong arguments before torch is imported."""
    parsed = _parsed(arguments)
    from metamtl.bench import run

    figures: dict[str, Any]
    if parsed.suite == "engine":
        figures = run.engine(
            shapes=parsed.shapes,
            orders=parsed.order,
            engines=parsed.engine,
            memory=parsed.memory,
            overrides=parsed.overrides,
            peers=parsed.peers,
            repeat=parsed.repeat,
            device=parsed.device,
        )
    else:
        figures = run.other(parsed.suite, parsed.overrides, parsed.peers, parsed.repeat)
    if parsed.json is not None:
        run.write(parsed.json, figures)
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"metamtl bench: {message}; metamtl bench --help says what it takes.")


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="metamtl bench", add_help=False, allow_abbrev=False)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--shapes", type=_words, default=[])
    parser.add_argument("--order", type=_words, default=["second"])
    parser.add_argument("--engine", type=_words, default=["auto"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", type=_words, default=["S2"])
    parsed = parser.parse_intermixed_args(list(arguments))
    problems = [f"{word}: overrides are KEY=VALUE." for word in parsed.overrides if "=" not in word]
    problems += [f"--order={word}: choose first or second." for word in parsed.order if word not in ORDERS]
    problems += [f"--device={parsed.device}: choose cpu or cuda."] if parsed.device not in DEVICES else []
    problems += [f"--repeat={parsed.repeat}: at least 1."] if parsed.repeat < 1 else []
    if parsed.suite != "engine":
        given = {word.split("=")[0] for word in arguments} & {"--shapes", "--order", "--engine", "--device", "--memory"}
        problems += [f"{flag} is of the suite engine alone." for flag in sorted(given)]
    if parsed.json is not None and not parsed.json.expanduser().absolute().parent.is_dir():
        problems.append(f"--json={parsed.json}: there is no such folder.")
    if problems:
        raise UsageError(*problems)
    return parsed


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]
