"""`metamtl export`: a finished run as programs that run without metamtl."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from metamtl.commands.adapt import threshold
from metamtl.commands.arguments import Parser, refuse_existing, without_own_folder

HELP = """usage: metamtl export RUN [--support DIR] -o FOLDER [--threshold auto|off|SCORE] [--invert auto|always|never]
                      [--config-dir FOLDER]

Write FOLDER with a torch.export program (.pt2) and ONNX, both checked against the live model, and MODEL_CARD.md:
the predictor of the class folders in DIR, as `metamtl adapt` makes it, and for metric learners the embedding.
Needs pip install 'metamtl[export]'. --config-dir FOLDER says where the classes of options of your own are.

examples:
  metamtl export outputs/RUN --support letters -o exported
  metamtl export outputs/RUN -o embedding          (metric learners alone)"""


def main(arguments: Sequence[str]) -> int:
    """Export; raises UsageError for wrong folders before torch is imported."""
    options = _parse(without_own_folder(arguments))
    refuse_existing([options.output], overwrite=False)
    support = None
    if options.support is not None:
        from metamtl.deploy.folders import class_folders

        support = class_folders(options.support)
    from metamtl.deploy.session import export_run

    export_run(options.run, support, options.output, threshold=options.threshold, invert=options.invert)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("export")
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--support", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--threshold", type=threshold, default="auto")
    parser.add_argument("--invert", choices=("auto", "always", "never"), default="auto")
    return parser.parse_args(list(arguments))
