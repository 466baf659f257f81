"""`metamtl adapt` and `metamtl predict`: class folders to a predictor, pictures to a table, and what the user hears."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from metamtl.deploy.adapted import AT_ONCE
from metamtl.deploy.model import Model, load
from metamtl.deploy.pictures import Invert, PictureReader
from metamtl.deploy.predictor import Predictions, Predictor
from metamtl.deploy.table import write_table
from metamtl.errors import MetamtlError, UsageError


def adapt_to_folders(
    run: Path,
    support: Mapping[str, Sequence[Path]],
    *,
    threshold: float | Literal["auto", "off"],
    invert: Invert,
    transductive: bool,
) -> Predictor[str]:
    """The predictor of the classes in `support`, their pictures by name; prints how it came about."""
    model = _loaded(run, "auto")
    return _adapted(model, support, threshold, invert, transductive)


def export_run(
    run: Path,
    support: Mapping[str, Sequence[Path]] | None,
    folder: Path,
    *,
    threshold: float | Literal["auto", "off"],
    invert: Invert,
) -> None:
    """Writes the programs of the run, adapted to `support` where it is given; prints what is in the folder."""
    from metamtl.deploy.export import export_embedding

    model = _loaded(run, "cpu")
    if support is None:
        export_embedding(model, folder)
    else:
        _adapted(model, support, threshold, invert, transductive=False).export(folder)
    print(f"{folder}: {', '.join(sorted(file.name for file in folder.iterdir()))}")


def _loaded(run: Path, device: Literal["auto", "cpu"]) -> Model:
    model = load(run, device)
    print(*model.notes, sep="\n", end="\n" if model.notes else "", file=sys.stderr)
    return model


def _adapted(
    model: Model,
    support: Mapping[str, Sequence[Path]],
    threshold: float | Literal["auto", "off"],
    invert: Invert,
    transductive: bool,
) -> Predictor[str]:
    _refuse_without_pictures(model)
    files = [file for one in support.values() for file in one]
    labels = [name for name, one in support.items() for _ in one]
    predictor = model.adapt(files, labels, threshold=threshold, invert=invert, transductive=transductive)
    describe(predictor)
    return predictor


def describe(predictor: Predictor[Any]) -> None:
    """Prints what a predictor is: its run, classes, polarity, threshold and statistics."""
    origin, limit, reader = predictor.adapted.origin, predictor.threshold, predictor.reader
    assert isinstance(reader, PictureReader)
    learnt = f"{predictor.adapted.parts.config['algo']['name']} on {predictor.adapted.inputs['name']}"
    weights = f"seed {origin['seed']}, best weights of step {origin['weights']['step']}"
    print(f"model      {origin['run']}: {learnt}, {weights}")
    if choice := origin.get("choice"):
        print(f"choice     {', '.join(f'{key} {value}' for key, value in choice.items())}, the best on validation")
    print(f"classes    {len(predictor.classes)}: {', '.join(map(str, predictor.classes))}")
    print(f"pictures   {reader.size}x{reader.size}, {reader.channels}; {_polarity(reader)}")
    print(f"threshold  {limit.value:.4g} ({limit.how})")
    if limit.accuracy is not None:
        print(f"           {limit.accuracy:.1%} of the held-out examples were recognised")
    if predictor.adapted.parts.learner.network.norm == "batch":
        print(f"statistics {_statistics(predictor)}")


def predict_files(
    predictor: Predictor[Any], files: Sequence[Path], target: Path, on_bad: Literal["error", "skip"]
) -> None:
    """Writes the predictions for `files` to `target` and prints how many; every damaged picture is named.

    Raises MetamtlError, with nothing written, where one is damaged, unless such are skipped, or none is left.
    """
    reader = predictor.reader
    assert isinstance(reader, PictureReader)
    kept, problems = reader.readable(files)
    if problems and on_bad == "error":
        raise MetamtlError("\n".join([*problems, "Nothing was written: mend or remove them, or add --on-bad skip."]))
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    if not kept:
        raise MetamtlError("Nothing was written: no picture can be read.")
    pictures, unknown, inverted = write_table(target, predictor.classes, _predicted(predictor, kept))
    left_out = f", {len(problems)} damaged ones left out" if problems else ""
    print(f"{target}: {pictures} pictures, {unknown} unknown, {inverted} inverted{left_out}")


def _predicted(predictor: Predictor[Any], files: Sequence[Path]) -> Iterator[tuple[Sequence[Path], Predictions[Any]]]:
    at_once = len(files) if predictor.adapted.transductive else AT_ONCE
    for start in range(0, len(files), at_once):
        block = files[start : start + at_once]
        yield block, predictor.predict(block)


def _refuse_without_pictures(model: Model) -> None:
    kind, preprocessing = model.inputs["kind"], model.inputs["preprocessing"]
    if kind != "classification" or "size" not in preprocessing:
        raise UsageError(
            f"{model.origin['run']} did not learn to classify pictures ({kind}, examples of shape "
            f"{model.inputs['shape']}): adapt it from Python with arrays, see docs/adapt.md."
        )


def _polarity(reader: PictureReader) -> str:
    if reader.invert != "auto":
        return f"{reader.invert} inverted, as asked"
    if reader.background not in ("dark", "light"):
        return "never inverted: the run's data has no polarity"
    other = {"dark": "light", "light": "dark"}[reader.background]
    return f"those on a {other} background are inverted, as the run learnt on a {reader.background} one"


def _statistics(predictor: Predictor[Any]) -> str:
    if predictor.adapted.transductive:
        return "batch normalisation over all pictures predicted together: each prediction depends on the others"
    tested = predictor.adapted.origin["figures"].get("transduction", "")
    more = "; the run's own figures are transductive, see --transductive" if tested.startswith("transductive") else ""
    return f"batch normalisation by the support set{more}"
