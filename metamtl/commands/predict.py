"""`metamtl predict`: the classes of pictures by a model that `metamtl adapt --save` kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metamtl.commands.arguments import Parser, refuse_existing, without_own_folder

HELP = """usage: metamtl predict MODEL PATH... -o FILE [--on-bad error|skip] [--overwrite] [--config-dir FOLDER]

Predict pictures with an adapted model; neither its run nor its data need be here. FILE is as that of `metamtl adapt`.

  PATH...              pictures, and folders in which every picture is taken
  -o, --output FILE    the CSV file of predictions
  --on-bad HOW         a damaged picture: error (the default) writes nothing, skip leaves it out
  --overwrite          replace FILE where it exists
  --config-dir FOLDER  where the classes of options of your own are, as in training

examples:
  metamtl predict letters.pt scans -o predictions.csv
  metamtl predict letters.pt one.png two.jpg -o predictions.csv --overwrite"""


def main(arguments: Sequence[str]) -> int:
    """Predict; raises UsageError for wrong paths before torch is imported."""
    parser = Parser("predict")
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--on-bad", choices=("error", "skip"), default="error")
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_intermixed_args(without_own_folder(arguments))
    refuse_existing([options.output], options.overwrite)
    from metamtl.deploy.folders import pictures_in

    files = pictures_in(options.paths)
    from metamtl.deploy.record import load_predictor
    from metamtl.deploy.session import describe, predict_files

    predictor = load_predictor(options.model)
    describe(predictor)
    predict_files(predictor, files, options.output, options.on_bad)
    return 0
