"""What data sets of functions to fit from a few points share: nothing is stored, and an episode is one of its key."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from metamtl.data.random import Keys, bits
from metamtl.data.sampler import grouped
from metamtl.data.source import EpisodeArrays, IntArray, Source, Split, TaskShape

_SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Curves(Source):
    """Regression tasks of `shots` support and `queries` query points; x and y are float32 [T, points, 1].

    All splits have one distribution of functions and share none.
    """

    kind = "regression"
    input_shape = (1,)
    output_size = 1

    @abstractmethod
    def points(self, episodes: IntArray, keys: Keys, shots: int, queries: int) -> EpisodeArrays:
        """The functions of T keys at shots + queries points each."""

    def problems(self, split: Split, shape: TaskShape) -> list[str]:
        """Always empty: there are as many points as one likes; ways are not looked at."""
        return []

    def episodes(self, split: Split, shape: TaskShape, numbers: IntArray, key: int) -> Sequence[EpisodeArrays]:
        """The episodes with these numbers, grouped by equal shots, in the order of first appearance."""
        own = int(bits(key, _SPLITS.index(split)))
        one_way = replace(shape, ways=1)  # a function is one way to look at x, whatever was asked for classes
        return [
            self.points(episodes, keys, shots, shape.queries)
            for episodes, keys, _, shots in grouped(one_way, numbers, own)
        ]
