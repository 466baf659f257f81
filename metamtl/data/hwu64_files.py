"""The files of HWU64: the authors' repository, a table for each intent, or one table for training and one for testing.

In the repository the folds are under `CrossValidation`; of the first, KFold_1, `trainset` and `testset/csv` have the
tables, with semicolons between the columns. It may be a clone, the zip that GitHub makes of it, or KFold_1 alone.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from metamtl.data.archive import opened
from metamtl.data.places import folders
from metamtl.data.sentences import decoded
from metamtl.data.source import DataPaths
from metamtl.errors import MetamtlError, UsageError

URL = "https://github.com/xliuhw/NLU-Evaluation-Data"
HOW = f"git clone --depth 1 {URL} there, or put the zip that GitHub makes of it into a folder hwu64 there."
FOLD = "CrossValidation/autoGeneFromRealAnno/autoGene_2018_03_22-13_01_25_169/CrossValidation/KFold_1"
TABLES = {"train": "trainset", "test": "testset/csv"}  # folders of a fold
WHOLE = {"train": "train.csv", "test": "test.csv"}
PARTS = tuple(TABLES)


class Request(NamedTuple):
    """A row: what the request is about, what is asked, and its words with slots between brackets."""

    scenario: str
    intent: str
    annotated: str


def find(paths: DataPaths, root: str | None = None) -> Path | None:
    """The folder of a fold, that of train.csv and test.csv, or an unopened zip in a folder of the set's own."""
    for place in folders(paths, "hwu64", root, "hwu64", "hwu64/NLU-Evaluation-Data", "NLU-Evaluation-Data"):
        if all((place / file).is_file() for file in WHOLE.values()):
            return place
        for fold in (place / FOLD, place / "KFold_1", place):
            if all((fold / folder).is_dir() for folder in TABLES.values()):
                return fold
        if (root is not None or place.name == "hwu64") and (zips := sorted(place.glob("*.zip"))):
            return zips[0]
    return None


def read(paths: DataPaths, root: str | None = None) -> dict[str, list[Request]]:
    """The requests for training (`train`) and for testing (`test`), in order of the tables' names.

    UsageError where there are no files, MetamtlError where they are damaged or others.
    """
    found = find(paths, root)
    if found is None:
        raise UsageError(f"data=hwu64 needs {WHOLE['train']} under paths.data, or the repository that has it: {HOW}")
    return {
        part: [request for where, text in _tables(found, part) for request in _requests(text, where)] for part in PARTS
    }


def _tables(found: Path, part: str) -> Iterator[tuple[str, str]]:
    """The tables of a part, each with where it is."""
    if found.is_dir():
        for file in sorted((found / TABLES[part]).glob("*.csv")) or [found / WHOLE[part]]:
            yield str(file), decoded(file.read_bytes())
        return
    with opened(found) as archive:
        whole = [name for name in archive.names if f"/{name}".endswith(f"/{WHOLE[part]}")]
        of_fold = [name for name in archive.names if f"/{FOLD}/{TABLES[part]}/" in f"/{name}" and name.endswith(".csv")]
        if not whole and not of_fold:
            raise MetamtlError(f"{found} has neither {WHOLE[part]} nor {FOLD}/{TABLES[part]}: {HOW}")
        for name in of_fold or [min(whole, key=len)]:
            yield f"{found}:{name}", decoded(archive.read(name))


def _requests(text: str, where: str) -> Iterator[Request]:
    official = "answer_annotation" in text.partition("\n")[0]
    columns = ("scenario", "intent", "answer_annotation" if official else "annotated_text")
    rows = csv.DictReader(text.splitlines(), delimiter=";" if official else ",")
    if not set(rows.fieldnames or ()) >= set(columns):
        raise MetamtlError(f"{where} does not look like HWU64: it needs the columns {', '.join(sorted(columns))}.")
    for row in rows:
        if any(row[column] is None for column in columns):
            raise MetamtlError(f"{where}, line {rows.line_num}: fewer columns than the first line has; get it again.")
        yield Request(*(row[column] for column in columns))
