"""Predictions as a CSV file: `path,label,probability,unknown`, then a column for each class."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from metamtl.deploy.predictor import Predictions
from metamtl.runs.files import write_atomic

COLUMNS = ("path", "label", "probability", "unknown")


def write_table(
    target: Path, classes: Sequence[Any], parts: Iterable[tuple[Sequence[Path], Predictions[Any]]]
) -> tuple[int, int, int]:
    """Writes the file in one step; returns how many pictures it has, how many are unknown, how many were inverted.

    `label` is always the best class. A class that is named as one of the first columns has ` (class)` behind its name.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    names = [str(one) for one in classes]
    writer.writerow([*COLUMNS, *(f"{name} (class)" if name in COLUMNS else name for name in names)])
    pictures = unknown = inverted = 0
    for files, predictions in parts:
        writer.writerows(_rows(files, predictions))
        pictures += len(files)
        unknown += int(predictions.unknown.sum())
        inverted += int(predictions.inverted.sum())
    # a file's name may hold bytes that are no UTF-8; they are written as they are
    write_atomic(target, text.getvalue().encode("utf-8", "surrogateescape"))
    return pictures, unknown, inverted


def _rows(files: Sequence[Path], predictions: Predictions[Any]) -> Iterable[list[str]]:
    columns = files, predictions.labels, predictions.probabilities.tolist(), predictions.unknown.tolist()
    for file, label, probabilities, unknown in zip(*columns, strict=True):
        best = f"{max(probabilities):.9f}"
        yield [str(file), str(label), best, str(unknown).lower(), *(f"{one:.9f}" for one in probabilities)]
