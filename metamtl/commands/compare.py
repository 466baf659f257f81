"""`metamtl compare`: runs beside one another, which is better and whether for sure."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

from metamtl.errors import MetamtlError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from metamtl.comparison.compare import Comparison
    from metamtl.comparison.record import RunRecord
    from metamtl.comparison.unfinished import Unfinished

FORMATS = ("table", "markdown", "csv", "latex", "json")
SUFFIXES = {".md": "markdown", ".csv": "csv", ".tex": "latex", ".json": "json"}
WIDE = 200  # columns

HELP = """usage: metamtl compare PATH... [--where CONDITIONS] [--metric NAME] [--baseline GROUP] [--sort COLUMN]
                       [--columns NAMES] [--format table|markdown|csv|latex|json] [-o FILE]

Group runs that differ only by seed, and test each group against a baseline on the same test episodes. PATH is a run,
a multirun, a folder of runs, RUN/eval or RUN/eval/ID, or a pattern in quotes.

  --where CONDITIONS   only runs for which all hold: keys of the config (algo.inner_lr), groups (algo), last parts
                       (shots) or status, with =, !=, <, >, <= or >=
  --metric NAME        accuracy, mse, loss, FAMILY/mse ..., or delta_m of runs with references=auto; by default what
                       the runs selected by
  --baseline GROUP     a group's name, or conditions that fit one; by default the best on validation
  --sort COLUMN        a column or key, smallest first; -COLUMN largest first; by default the best first
  --columns NAMES      of group, seeds, METRIC, ci_seeds, ci_episodes, difference, p, p_wilcoxon, rank,
                       negative_transfer, validation, steps, seconds, tasks_per_second, step_ms, step_ratio,
                       parameters, and keys of the config
  --format FORMAT      by default a table, or what FILE's ending says (.md, .csv, .tex, .json)
  -o, --output FILE    write there

examples:
  metamtl compare outputs
  metamtl compare outputs --where "data=omniglot,shots=1,status=completed" --baseline algo=protonet
  metamtl compare outputs/SWEEP --columns group,accuracy,ci_seeds,algo.inner_lr --sort algo.inner_lr
  metamtl compare outputs --metric delta_m --baseline weighting=equal
  metamtl compare outputs/RUN/eval outputs/OTHER/eval --metric loss
  metamtl compare outputs -o table.tex"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"metamtl compare: {message}; `metamtl compare --help` says what there is.")


def main(arguments: Sequence[str]) -> int:
    """Compare and print or write; raises UsageError for paths, conditions or names that there are not."""
    options = _parse(arguments)
    from metamtl.comparison.unfinished import unfinished

    records = _records(options)
    rest = unfinished(records)
    if len(rest) == len(records):
        from metamtl.comparison.terminal import show_unfinished

        show_unfinished(_console(sys.stderr), rest)
        raise MetamtlError("Nothing to compare yet: none of these runs is finished.")
    comparison = _comparison(records, options)
    if options.output is not None:
        from metamtl.runs.files import write_atomic

        write_atomic(options.output, _text(comparison, rest, options).encode())
    elif options.format == "table":
        _show(_console(sys.stdout), comparison, rest, options)
    else:
        sys.stdout.write(_text(comparison, rest, options))
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser("metamtl compare", add_help=False, allow_abbrev=False)
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--where", action="append", default=[])
    parser.add_argument("--metric")
    parser.add_argument("--baseline")
    parser.add_argument("--sort")
    parser.add_argument("--columns", type=lambda text: [name.strip() for name in text.split(",") if name.strip()])
    parser.add_argument("--format", choices=FORMATS)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_intermixed_args(_with_sort_joined(arguments))
    if options.format is None:
        options.format = SUFFIXES.get(options.output.suffix, "table") if options.output else "table"
    return options


def _with_sort_joined(arguments: Sequence[str]) -> list[str]:
    """`--sort -seconds` as one word, since argparse takes what begins with a dash for a flag."""
    joined: list[str] = []
    for word in arguments:
        if joined and joined[-1] == "--sort":
            joined[-1] = f"--sort={word}"
        else:
            joined.append(word)
    return joined


def _records(options: argparse.Namespace) -> list[RunRecord]:
    from metamtl.comparison.collect import collect
    from metamtl.comparison.where import where

    records = collect(options.paths)
    if not records:
        raise UsageError(f"{', '.join(options.paths)}: no runs there; `metamtl train` makes one.")
    conditions = ",".join(options.where)
    wanted = where(records, conditions)
    if not wanted:
        raise UsageError(f"--where {conditions}: none of the {len(records)} runs is like that.")
    return wanted


def _comparison(records: Sequence[RunRecord], options: argparse.Namespace) -> Comparison:
    from metamtl.comparison.compare import compare, has
    from metamtl.comparison.groups import grouped
    from metamtl.comparison.metrics import chosen_metric
    from metamtl.comparison.sorting import sorted_by
    from metamtl.comparison.where import group_named

    groups = grouped(records)
    metric = chosen_metric(groups, options.metric)
    measured = [group for group in groups if has(group, metric)]
    baseline = group_named(measured, options.baseline) if options.baseline else None
    comparison = compare(groups, metric, baseline)
    return sorted_by(comparison, options.sort) if options.sort else comparison


def _text(comparison: Comparison, rest: Sequence[Unfinished], options: argparse.Namespace) -> str:
    from metamtl.comparison import formats
    from metamtl.comparison.columns import differing, filled, named, standard

    chosen = named(comparison, options.columns) if options.columns else None
    if options.format == "json":
        return formats.json_text(comparison, rest)
    if options.format == "csv":
        return formats.comma_separated(comparison, chosen or [*standard(comparison), *differing(comparison)])
    if options.format == "table":
        file = io.StringIO()
        _show(_console(file), comparison, rest, options)
        return file.getvalue()
    write = formats.markdown if options.format == "markdown" else formats.latex
    return write(comparison, chosen or filled(comparison, standard(comparison)), rest)


def _show(console: Console, comparison: Comparison, rest: Sequence[Unfinished], options: argparse.Namespace) -> None:
    from metamtl.comparison.columns import named, standard
    from metamtl.comparison.terminal import show

    if options.columns:
        show(console, comparison, named(comparison, options.columns), rest, fit=False)
    else:
        show(console, comparison, standard(comparison), rest, fit=True)


def _console(file: IO[str]) -> Console:
    """As wide as the terminal; wide enough for all columns where the text goes elsewhere."""
    from rich.console import Console

    return Console(file=file, width=None if file.isatty() or "COLUMNS" in os.environ else WIDE)
