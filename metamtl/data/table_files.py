"""Five published tables: where their files are, what their columns mean, and the questions asked of them.

All are of the UCI Machine Learning Repository, under CC BY 4.0: Statlog German Credit (Hofmann 1994), Default of Credit
Card Clients (Yeh 2009), Adult (Becker & Kohavi 1996), Parkinsons Telemonitoring (Tsanas & Little 2009) and Energy
Efficiency (Tsanas & Xifara 2012).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metamtl.data.places import UNNAMED, first_existing, folders
from metamtl.data.source import DataPaths
from metamtl.errors import MetamtlError, UsageError

UCI = "https://archive.ics.uci.edu/static/public"
Texts = NDArray[np.str_]


@dataclass(frozen=True)
class Question:
    """What is predicted of a row: whether the column has one of the texts `yes`, or without any, its number."""

    column: str
    yes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A published table.

    Inputs are all columns but those of the questions and those `left_out`: `categories` as one column for each value,
    all others as numbers. Rows that agree in `together` (where it is empty, in all inputs and answers) are in one
    split.
    """

    files: tuple[str, ...]  # any of them: the names that it is published and usually kept under
    way: str  # to get it
    questions: Mapping[str, Question]
    categories: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()  # of files without a line that names them
    delimiter: str = ","


_GERMAN = (
    "account duration history purpose amount savings employment instalment personal debtors residence property age "
    "plans housing credits job dependents telephone foreign risk"
)
_ADULT = (
    "age workclass fnlwgt education education-num marital-status occupation relationship race sex capital-gain "
    "capital-loss hours-per-week native-country income-per-year"
)

TABLES: Mapping[str, Table] = {
    "german_credit": Table(
        files=("german.data",),
        way=f"get {UCI}/144/statlog+german+credit+data.zip and unpack german.data",
        questions={"bad": Question("risk", ("2",))},
        categories=(
            *("account", "history", "purpose", "savings", "employment", "personal", "debtors", "property", "plans"),
            *("housing", "job", "telephone", "foreign"),
        ),
        columns=tuple(_GERMAN.split()),
        delimiter=" ",
    ),
    "credit_card_default": Table(
        files=("UCI_Credit_Card.csv",),
        way=f"get {UCI}/350/default+of+credit+card+clients.zip and save its sheet as UCI_Credit_Card.csv",
        questions={"default": Question("default.payment.next.month", ("1",))},
        categories=("SEX", "EDUCATION", "MARRIAGE"),
        left_out=("ID",),
    ),
    "adult": Table(
        files=("adult.csv", "adult.data"),
        way=f"get {UCI}/2/adult.zip and unpack adult.data",
        questions={
            "income": Question("income-per-year", (">50K", ">50K.")),
            "never_married": Question("marital-status", ("Never-married",)),
        },
        categories=("workclass", "education", "occupation", "race", "sex", "native-country"),
        left_out=("relationship", "fnlwgt"),  # a husband is married; the other is a weight of the sample
        columns=tuple(_ADULT.split()),
    ),
    "parkinsons": Table(
        files=("parkinsons_updrs.data",),
        way=f"get {UCI}/189/parkinsons+telemonitoring.zip and unpack parkinsons_updrs.data",
        questions={"motor": Question("motor_UPDRS"), "total": Question("total_UPDRS")},
        categories=(),
        left_out=("subject#",),
        together=("subject#",),
    ),
    "energy": Table(
        files=("ENB2012_data.csv",),
        way=f"get {UCI}/242/energy+efficiency.zip and save its sheet as ENB2012_data.csv",
        questions={"heating": Question("Y1"), "cooling": Question("Y2")},
        categories=("X6", "X8"),
    ),
}
_FOLDERS = {"parkinsons": "parkinsons_telemonitoring", "energy": "energy_efficiency"}


def read_table(name: str, paths: DataPaths) -> dict[str, Texts]:
    """The columns [N] of a table by name, as they are written.

    Raises UsageError where the file is missing, MetamtlError where it is damaged or another.
    """
    table = TABLES[name]
    path = find(name, paths)
    if path is None:
        raise UsageError(missing(name))
    try:
        rows = _rows(path, table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MetamtlError(f"{path} cannot be read ({error}); {table.way}.") from error
    columns, body = _named(rows, table)
    if not _needed(table) <= set(columns) or not body or any(len(row) != len(columns) for row in body):
        raise MetamtlError(f"{path} does not have the columns of {name}, or lines are cut short; {table.way}.")
    return dict(zip(columns, np.array(body, dtype=np.str_).T, strict=True))


def missing(name: str, folder: str = UNNAMED) -> str:
    """What is said where a table is not there; `folder` is where it may be put."""
    table = TABLES[name]
    return f"data=table needs {' or '.join(table.files)} for {name}: {table.way} into {folder}."


def find(name: str, paths: DataPaths) -> Path | None:
    """The file of a table, if it is there."""
    folder = _FOLDERS.get(name, name)
    return first_existing(folders(paths, "table", None, f"tabular/{folder}", folder, name), TABLES[name].files)


def _rows(path: Path, table: Table) -> list[list[str]]:
    """The lines that hold something."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=table.delimiter, skipinitialspace=True)
        return [row for line in reader if any(row := [cell.strip() for cell in line])]


def _named(rows: list[list[str]], table: Table) -> tuple[tuple[str, ...], list[list[str]]]:
    """The names of columns and the rows below them.

    A sheet that was saved may have a line of other names above (X1, X2 ...), blanks in names, and empty columns at the
    end of lines.
    """
    for number, row in enumerate(rows[:2]):
        names = tuple(name.replace(" ", ".") for name in row)
        if _needed(table) <= set(names):
            width = max(place for place, name in enumerate(names) if name) + 1
            body = [line if any(line[width:]) else line[:width] for line in rows[number + 1 :]]
            return names[:width], body
    return table.columns, rows


def _needed(table: Table) -> set[str]:
    return {*(question.column for question in table.questions.values()), *table.categories, *table.left_out}


def numbers(column: Texts, where: str) -> NDArray[np.float64]:
    """A column's numbers; MetamtlError where one is none."""
    try:
        found = column.astype(np.float64)
    except ValueError as error:
        raise MetamtlError(f"{where} holds something that is no number ({error}).") from error
    if not np.isfinite(found).all():
        raise MetamtlError(f"{where} holds a number that is not finite.")
    return found


def inputs_of(name: str) -> tuple[Sequence[str], Sequence[str]]:
    """The categories of a table and the columns that are no inputs."""
    table = TABLES[name]
    return table.categories, [*table.left_out, *(question.column for question in table.questions.values())]
