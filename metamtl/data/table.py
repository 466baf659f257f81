"""Rows of published tables with questions about them: classes by yes or no, and numbers.

Numbers are standardised and categories found on training rows alone; a category that they lack is all zeros. A number
that is asked for is standardised too, so that a mean squared error of 1 is that of always answering the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.data.examples import ExampleSource
from metamtl.data.random import permutation
from metamtl.data.source import DataPaths, IntArray, Split
from metamtl.data.table_files import TABLES, Texts, inputs_of, numbers, read_table
from metamtl.errors import UsageError
from metamtl.registry import register

Floats = NDArray[np.float64]


@register("data", "table")
class LabelledTable(ExampleSource):
    """`set` is the table and `target` the question (its first where it is None); inputs are float32 [columns].

    Raises UsageError for a question of another table.
    """

    def __init__(self, *, paths: DataPaths, set: str, target: str | None, split_seed: int) -> None:
        questions = TABLES[set].questions
        target = target or next(iter(questions))
        if target not in questions:
            raise UsageError(f"data.target={target}: the table {set} is asked for {' or '.join(questions)}.")
        columns = read_table(set, paths)
        splits = divided(together(set, columns), split_seed)
        x, inputs = encoded(set, columns, splits["train"])
        y, answer = answers(set, target, columns, splits["train"])
        super().__init__(
            name=f"{set}-{target}",
            kind="classification" if y.dtype == np.int64 else "regression",
            x=x.astype(np.float32),
            y=y,
            splits=splits,
            output_size=2 if y.dtype == np.int64 else 1,
            preprocessing={"columns": inputs, "answer": answer},
            facts={"table": set, "target": target, "licence": "CC BY 4.0"},
        )


def together(name: str, columns: Mapping[str, Texts]) -> IntArray:
    """For each row [N] the number of its group, whose rows must not be in two splits."""
    table = TABLES[name]
    told = table.together or tuple(column for column in columns if column not in table.left_out)
    rows = np.stack([columns[column] for column in told], axis=1)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def divided(groups: IntArray, seed: int) -> dict[Split, IntArray]:
    """The rows of each split, of 60, 20 and 20 percent of the groups."""
    count = int(groups.max()) + 1
    place = np.empty(count, dtype=np.int64)
    place[permutation(count, seed)] = np.arange(count)
    held_out = round(0.2 * count)
    ends: Mapping[Split, tuple[int, int]] = {
        "train": (2 * held_out, count),
        "val": (0, held_out),
        "test": (held_out, 2 * held_out),
    }
    return {
        split: np.flatnonzero((place[groups] >= first) & (place[groups] < end)) for split, (first, end) in ends.items()
    }


def encoded(name: str, columns: Mapping[str, Texts], train: IntArray) -> tuple[Floats, dict[str, Any]]:
    """Inputs [N, columns], and how each was made: the mean and deviation of numbers, the values of categories."""
    categories, others = inputs_of(name)
    made: list[Floats] = []
    record: dict[str, Any] = {}
    for column, texts in columns.items():
        if column in categories:
            values = np.unique(texts[train])
            made.append((texts[:, None] == values).astype(np.float64))
            record[column] = values.tolist()
        elif column not in others:
            standard, record[column] = standardised(numbers(texts, f"The column {column} of {name}"), train)
            made.append(standard[:, None])
    return np.concatenate(made, 1), record


def answers(name: str, target: str, columns: Mapping[str, Texts], train: IntArray) -> tuple[NDArray[Any], Any]:
    """Classes int64 [N] or standardised numbers float32 [N, 1], and what yes is, or the mean and deviation."""
    question = TABLES[name].questions[target]
    texts = columns[question.column]
    if question.yes:
        return np.isin(texts, question.yes).astype(np.int64), list(question.yes)
    values, record = standardised(numbers(texts, f"The column {question.column} of {name}"), train)
    return values[:, None].astype(np.float32), record


def standardised(values: Floats, train: IntArray) -> tuple[Floats, dict[str, float]]:
    """Values [N] of mean 0 and deviation 1 over the training rows; one that is always the same there is left at 0."""
    mean, deviation = float(values[train].mean()), float(values[train].std())
    return (values - mean) / (deviation or 1.0), {"mean": mean, "deviation": deviation}
