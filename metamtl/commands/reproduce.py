"""`metamtl reproduce`: run the rows of a table of published results, as many as a budget of time allows."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from metamtl.errors import MetamtlError, UsageError

if TYPE_CHECKING:
    from metamtl.reproduce.process import Jobs
    from metamtl.reproduce.rows import Workplace

HELP = """usage: metamtl reproduce TABLE [--budget TIME] [--minutes N] [--whole] [--rows NAMES] [--seeds NUMBERS]
                         [--table] [-o FOLDER] [KEY=VALUE ...]

Run the rows of a table one after another, each in a process of its own, and write FOLDER/table.md: published
figure, ours with its interval, cost, a paired test against the best baseline, and the command of each row. What is
finished is skipped and what was stopped goes on, so the same command continues after a kill.

TABLE is glyphs (nothing to download), omniglot, omniglot_20way, cifar_fs or a YAML file of your own.

  --budget TIME    start no row that is not expected to end within TIME (2h, 90m, 1h30m); without it all are run
  --minutes N      of updates for each row and seed; an update's cost is measured first and the row trains for as many
                   as fit, a part of its recipe (the table says which); by default what the table says
  --whole          train every row for its whole recipe
  --rows NAMES     only these, comma-separated
  --seeds NUMBERS  such as 0,1,2; by default the table's
  --table          write the table from what there is and run nothing
  -o FOLDER        by default outputs/reproduce-TABLE
  KEY=VALUE        for every row, such as paths.data=~/data trainer.device=cpu

examples:
  metamtl reproduce glyphs --rows centroid,protonet,maml --minutes 2
  metamtl reproduce omniglot --budget 2h paths.data=~/data
  metamtl reproduce cifar_fs --rows rfs_5w5s,protonet_5w5s --minutes 20 --seeds 0,1,2
  metamtl reproduce omniglot --table"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"metamtl reproduce: {message}; `metamtl reproduce --help` says what there is.")


def main(arguments: Sequence[str]) -> int:
    """Run what fits and write the table; raises UsageError for tables, rows, times and keys that there are not."""
    from metamtl.reproduce.budget import seconds_of
    from metamtl.reproduce.process import Jobs

    options = _parse(arguments)
    seconds = None if options.budget is None else seconds_of(options.budget)
    place = _workplace(options)
    failures: list[str] = []
    if not options.table:
        _refuse_wrong_rows(place)
        jobs = Jobs()
        with jobs.stoppable():
            try:
                failures = _run(place, jobs, seconds)
            finally:
                _write(place)
    else:
        _write(place)
    print(place.out / "table.md")
    if failures:
        raise MetamtlError("\n".join(failures))
    return 0


def _run(place: Workplace, jobs: Jobs, seconds: float | None) -> list[str]:
    from metamtl.reproduce.rows import carry_out, remaining

    started, failures = time.monotonic(), []
    planned = slower = 1.0  # what rows took in all, tests included, as a multiple of their updates
    for row in place.table.rows:
        expected = remaining(place, row) * place.budget(row)
        before = time.monotonic() - started
        if expected == 0:
            continue
        if seconds is not None and before + expected * slower > seconds:
            print(f"{row.name}: does not fit in what is left of the budget.", file=sys.stderr)
            continue
        length = "its whole recipe" if place.whole else f"{place.budget(row) / 60:g} minutes of updates a seed"
        print(f"{row.name}: {length}", file=sys.stderr, flush=True)
        try:
            failures += carry_out(place, row, jobs.run)
        except MetamtlError as error:
            failures.append(str(error))
        planned += expected
        slower = max(1.0, (time.monotonic() - started) / planned)
        _write(place)
    return failures


def _write(place: Workplace) -> None:
    from metamtl.reproduce.report import markdown
    from metamtl.runs.files import write_atomic

    place.out.mkdir(parents=True, exist_ok=True)
    write_atomic(place.out / "table.md", markdown(place).encode())


def _workplace(options: argparse.Namespace) -> Workplace:
    from dataclasses import replace

    from metamtl.config.hints import did_you_mean, nearest
    from metamtl.reproduce.rows import Workplace
    from metamtl.reproduce.table import read_table

    table = read_table(options.name)
    if options.seeds:
        if not all(seed.isdigit() for seed in options.seeds.split(",")):
            raise UsageError(f"--seeds {options.seeds}: write numbers, such as 0,1,2.")
        table = replace(table, seeds=tuple(dict.fromkeys(int(seed) for seed in options.seeds.split(","))))
    if options.rows:
        known = {row.name: row for row in table.rows}
        wrong = [name for name in options.rows.split(",") if name not in known]
        if wrong:
            raise UsageError(f"{table.name} has no row {wrong[0]}{did_you_mean(nearest(wrong[0], known))}")
        table = replace(table, rows=tuple(known[name] for name in dict.fromkeys(options.rows.split(","))))
    out = Path(options.out or f"outputs/reproduce-{table.name}").expanduser()
    return Workplace(table, out, tuple(options.overrides), options.minutes, options.whole)


def _refuse_wrong_rows(place: Workplace) -> None:
    """Every row is composed before the first is run: a mistake in the last must not wait for hours.

    What was begun otherwise in the same folder would be taken for what is asked for now.
    """
    from metamtl.config.compose import compose
    from metamtl.reproduce.rows import contradictions

    problems = contradictions(place)
    for row in place.table.rows:
        try:
            compose(place.arguments(row))
        except UsageError as error:
            problems += [f"{row.name}: {problem}" for problem in error.problems]
    if problems:
        raise UsageError(*problems)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="metamtl reproduce", add_help=False)
    parser.add_argument("name", metavar="TABLE")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--budget")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--rows")
    parser.add_argument("--seeds")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("-o", "--out")
    options = parser.parse_intermixed_args(list(arguments))
    if options.minutes is not None and options.minutes <= 0:
        raise UsageError(f"--minutes {options.minutes:g}: must be more than 0.")
    if options.whole and (options.minutes is not None or options.budget is not None):
        raise UsageError("--whole goes with neither --minutes nor --budget: a recipe takes as long as it takes.")
    if wrong := [word for word in options.overrides if "=" not in word]:
        raise UsageError(f"{wrong[0]}: write KEY=VALUE; metamtl reproduce takes one table.")
    return options
