"""`metamtl adapt`: a finished run learns the classes of a folder from a few pictures of each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from metamtl.commands.arguments import Parser, refuse_existing, without_own_folder
from metamtl.errors import UsageError

HELP = """usage: metamtl adapt RUN --support DIR [--predict PATH... -o FILE] [--save FILE] [--threshold auto|off|SCORE]
                     [--invert auto|always|never] [--transductive] [--on-bad error|skip] [--overwrite]
                     [--config-dir FOLDER]

Adapt a finished run to the class folders in DIR, a few pictures in each, and predict the class of other pictures.
Pictures are treated as the run's data was: size, grey or colour, polarity. FILE gets a row a picture: path, label
(the best class), probability, unknown, and the probability of each class.

  --predict PATH...    pictures, and folders in which every picture is taken
  -o, --output FILE    the CSV file of predictions
  --save FILE          keep the adapted model, for `metamtl predict FILE PICTURES`
  --threshold SCORE    pictures that score lower (their highest output before the softmax) are flagged as unknown;
                       auto (the default) calibrates it on DIR by leave-one-out, off flags none
  --invert HOW         auto (the default) inverts pictures whose background is not that of the run's data
  --transductive       batch normalisation by the pictures predicted together instead of by the support set
  --on-bad HOW         a damaged picture to predict: error (the default) writes nothing, skip leaves it out
  --overwrite          replace FILEs that exist
  --config-dir FOLDER  where the classes of options of your own are, as in training

examples:
  metamtl adapt outputs/RUN --support letters --predict scans -o predictions.csv
  metamtl adapt outputs/RUN --support letters --save letters.pt"""


def main(arguments: Sequence[str]) -> int:
    """Adapt, predict and save; raises UsageError for wrong folders and files before torch is imported."""
    options = _parse(without_own_folder(arguments))
    refuse_existing([options.output, options.save], options.overwrite)
    from metamtl.deploy.folders import class_folders, pictures_in

    support = class_folders(options.support)
    files = pictures_in(options.predict)
    from metamtl.deploy.session import adapt_to_folders, predict_files

    predictor = adapt_to_folders(
        options.run,
        support,
        threshold=options.threshold,
        invert=options.invert,
        transductive=options.transductive,
    )
    if options.save:
        predictor.save(options.save)
        print(f"{options.save}: the adapted model")
    if options.output:
        predict_files(predictor, files, options.output, options.on_bad)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("adapt")
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--support", type=Path, required=True)
    parser.add_argument("--predict", type=Path, nargs="+", action="extend", default=[])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--threshold", type=threshold, default="auto")
    parser.add_argument("--invert", choices=("auto", "always", "never"), default="auto")
    parser.add_argument("--transductive", action="store_true")
    parser.add_argument("--on-bad", choices=("error", "skip"), default="error")
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args(list(arguments))
    if bool(options.predict) != bool(options.output):
        raise UsageError("metamtl adapt: --predict PATH... and -o FILE go together.")
    if not (options.output or options.save):
        raise UsageError("metamtl adapt: nothing to do; add --predict PATH... -o FILE, or --save FILE.")
    return options


def threshold(text: str) -> float | str:
    """The value of `--threshold`."""
    return text if text in ("auto", "off") else float(text)
