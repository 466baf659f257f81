"""Few-shot regression over people: a task is one of 42 subjects, whose scores are told from voice recordings.

Tsanas, Little, McSharry & Ramig (2010), Accurate Telemonitoring of Parkinson's Disease Progression by Noninvasive
Speech Tests, IEEE Transactions on Biomedical Engineering 57. Scores were taken at three visits and are interpolated in
between, so that within a subject a line in time tells most of them; without the time a task shows what voices tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from metamtl.data.identity import array_digest, digest
from metamtl.data.random import bits, distinct, integers
from metamtl.data.sampler import grouped
from metamtl.data.source import DataPaths, EpisodeArrays, IntArray, Source, Split, TaskShape
from metamtl.data.table import answers, divided, encoded, together
from metamtl.data.table_files import read_table
from metamtl.errors import UsageError
from metamtl.registry import register

TARGETS: Mapping[str, Sequence[str]] = {"motor": ("motor",), "total": ("total",), "both": ("motor", "total")}
_SUBJECT, _ROWS = 16, 17  # apart from the counters of metamtl.data.sampler


@register("data", "parkinsons")
class Parkinsons(Source):
    """Tasks of `shots` support and `queries` query recordings of one subject; x float32 [inputs], y float32 [targets].

    Inputs are age, sex, 16 measures of the voice and, where `time` asks for it, the days since recruitment. Subjects
    are divided into splits; inputs and scores are standardised over those for training.
    """

    def __init__(self, *, paths: DataPaths, target: str, time: bool, split_seed: int) -> None:
        columns = read_table("parkinsons", paths)
        if not time:
            del columns["test_time"]
        subjects = together("parkinsons", columns)
        self._splits = divided(subjects, split_seed)
        x, inputs = encoded("parkinsons", columns, self._splits["train"])
        scores = {one: answers("parkinsons", one, columns, self._splits["train"]) for one in TARGETS[target]}
        self._x = x.astype(np.float32)
        self._y = np.concatenate([score for score, _ in scores.values()], axis=1)
        self._rows = {
            split: [items[subjects[items] == one] for one in np.unique(subjects[items])]
            for split, items in self._splits.items()
        }
        self.name = f"parkinsons_subjects-{target}"
        self.kind = "regression"
        self.input_shape, self.output_size = self._x.shape[1:], self._y.shape[1]
        self.preprocessing = {"columns": inputs, "answer": {one: record for one, (_, record) in scores.items()}}
        counts = {split: len(rows) for split, rows in self._rows.items()}
        self.facts = {"subjects": counts, "target": target, "time": time, "licence": "CC BY 4.0"}
        listed = {split: array_digest(items) for split, items in self._splits.items()}
        self.fingerprint = digest("parkinsons", array_digest(self._x), array_digest(self._y), listed)

    def problems(self, split: Split, shape: TaskShape) -> list[str]:
        """A sentence where a subject has too few recordings; ways are not looked at."""
        needed = TaskShape.largest(shape.shots) + shape.queries
        has = min((len(rows) for rows in self._rows[split]), default=0)
        if needed <= has:
            return []
        return [
            f"A subject in the {split} split of {self.name} has {has} recordings, fewer than shots + queries = "
            f"{needed}: lower task.shots or task.queries."
        ]

    def episodes(self, split: Split, shape: TaskShape, numbers: IntArray, key: int) -> Sequence[EpisodeArrays]:
        """The episodes with these numbers, grouped by equal shots, in the order of first appearance."""
        if split not in self._rows:
            raise UsageError(f"{self.name} has no {split} split.")
        rows = self._rows[split]
        sizes = np.array([len(one) for one in rows])
        first = np.cumsum(sizes) - sizes
        every, made = np.concatenate(rows), []
        for episodes, keys, _, shots in grouped(replace(shape, ways=1), numbers, key):
            subject = integers(len(rows), keys, _SUBJECT)
            within = distinct(sizes[subject], shots + shape.queries, bits(keys, _ROWS))
            items = every[first[subject][:, None] + within]
            made.append(EpisodeArrays.of_points(episodes, self._x[items], self._y[items], shots))
        return made
