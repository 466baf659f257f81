"""`metamtl report`: what the dashboard shows, as one file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metamtl.commands.arguments import Parser, refuse_existing
from metamtl.commands.dashboard import require_dash
from metamtl.errors import UsageError

HELP = """usage: metamtl report PATH... -o FILE.html [--view LINK] [--where CONDITIONS] [--metric NAME] [--overwrite]

Write what `metamtl dashboard` shows as one HTML file that needs nothing else: to send, to keep beside a paper, to open
without metamtl. The file holds configs and the ends of logs.

  -o, --output FILE    the file
  --view LINK          a link of the dashboard: its filter, groups, baseline, smoothing, axes
  --where CONDITIONS   as in `metamtl compare`
  --metric NAME        accuracy, mse, ...
  --overwrite          replace FILE if it exists

examples:
  metamtl report outputs -o report.html
  metamtl report outputs -o maml.html --where "algo=maml,shots=1"
  metamtl report outputs -o report.html --view "http://127.0.0.1:8050/curves?smooth=0.9&log=y\""""


def main(arguments: Sequence[str]) -> int:
    """Write the file; raises UsageError for paths, conditions or figures that there are not."""
    options = _parse(arguments)
    require_dash()
    refuse_existing([options.output], options.overwrite)
    from metamtl.comparison.metrics import chosen_metric
    from metamtl.dashboard.report import report
    from metamtl.dashboard.view import View
    from metamtl.dashboard.watch import Watch
    from metamtl.runs.files import write_atomic

    view = View.of(options.view or "")
    told = {"where": options.where, "metric": options.metric}
    view = replace(view, **{name: value for name, value in told.items() if value is not None})
    snapshot = Watch(options.paths).snapshot()
    shown = snapshot.shown(view.where)
    if shown.problem:
        raise UsageError(shown.problem)
    if not shown.records:
        raise UsageError(
            f"{', '.join(options.paths)}: no runs there" + (f" for which {view.where}." if view.where else ".")
        )
    if options.metric:
        chosen_metric(shown.groups, options.metric)
    write_atomic(options.output, report(snapshot, view).encode())
    count = len(shown.records)
    print(f"{options.output}: {count:,} run{'s' if count > 1 else ''}")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("report")
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--view")
    parser.add_argument("--where")
    parser.add_argument("--metric")
    parser.add_argument("--overwrite", action="store_true")
    return parser.parse_intermixed_args(arguments)
