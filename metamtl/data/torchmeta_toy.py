"""torchmeta's regression tasks, drawn by its own code with one seed an episode.

Sinusoid: Finn, Abbeel & Levine (2017), MAML, ICML. Harmonic: Lacoste et al. (2018), Uncertainty in multitask transfer
learning, arXiv 1806.07528. SinusoidAndLine: Finn, Xu & Levine (2018), Probabilistic MAML, NeurIPS.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.data import torchmeta_shim
from metamtl.data.identity import digest
from metamtl.data.random import bits
from metamtl.data.sampler import grouped
from metamtl.data.source import EpisodeArrays, IntArray, Source, Split, TaskShape

TOYS = ("Sinusoid", "Harmonic", "SinusoidAndLine")

_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_HALF = np.uint64(2**32)


class TorchmetaToy(Source):
    """Functions of one number, `shots` support and `queries` query points each; x and y are float64 [T, points, 1].

    All splits have one distribution; the functions of a split are drawn from keys that no other split has.
    """

    def __init__(self, dataset: str) -> None:
        self.name = f"torchmeta {dataset}"
        self.kind = "regression"
        self.input_shape = (1,)
        self.output_size = 1
        self.preprocessing = {}
        self.facts = {"splits": "one distribution of tasks", "torchmeta": torchmeta_shim.VERSION}
        self.fingerprint = digest("torchmeta toy", dataset, torchmeta_shim.VERSION)
        self._dataset = dataset

    def problems(self, split: Split, shape: TaskShape) -> list[str]:
        """Always empty: there are as many points as one likes; ways are not looked at."""
        return []

    def episodes(self, split: Split, shape: TaskShape, numbers: IntArray, key: int) -> Sequence[EpisodeArrays]:
        """The episodes with these numbers, grouped by equal shots; UsageError where torchmeta is not installed."""
        torchmeta_shim.install()
        own = int(bits(key, _SPLITS.index(split)))
        one_way = replace(shape, ways=1)  # a function has no classes
        return [
            self._tasks(episodes, keys, shots, shape.queries)
            for episodes, keys, _, shots in grouped(one_way, numbers, own)
        ]

    def _tasks(self, episodes: IntArray, keys: NDArray[np.uint64], shots: int, queries: int) -> EpisodeArrays:
        points = np.stack([self._points(key, shots + queries) for key in keys])  # [T, shots + queries, 2, 1]
        x, y = points[:, :, 0], points[:, :, 1]
        return EpisodeArrays.of_points(episodes, x, y, shots)

    def _points(self, key: np.uint64, count: int) -> NDArray[np.float64]:
        """[count, 2, 1]: x and y of one task.

        The first of two tasks is taken, and not the only one of one: SinusoidAndLine makes the second half of its
        tasks waves before it mixes them, which of one task would be all.
        """
        kind: Any = getattr(importlib.import_module("torchmeta.toy"), self._dataset)
        tasks = kind(num_samples_per_task=count, num_tasks=2)
        tasks.seed([int(key // _HALF), int(key % _HALF)])
        task = tasks[0]
        return np.asarray([task[i] for i in range(count)], dtype=np.float64)
