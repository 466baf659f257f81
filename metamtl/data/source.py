"""What every data source answers: its identity, what tasks it can make, and the arrays of any episode.

Nothing here or below a source imports torch: data is opened, packed and checked against the task's shape before
anything heavy loads, and an episode is an index until `metamtl.data.batch` turns it into tensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Split = Literal["train", "val", "test"]
Range = tuple[int, int]
Arrays = NDArray[Any] | dict[str, NDArray[Any]]
Kind = Literal["classification", "regression", "multilabel", "tagging", "segmentation", "boxes"]


@dataclass(frozen=True)
class DataPaths:
    """Where a source looks for files the user has (`data`, may be absent) and keeps what it packs (`cache`)."""

    data: Path | None
    cache: Path


@dataclass(frozen=True)
class TaskShape:
    """Ways, shots and queries of a task; a pair (low, high), ends included, is drawn anew for every episode."""

    ways: int | Range
    shots: int | Range
    queries: int

    @staticmethod
    def largest(value: int | Range) -> int:
        """The upper end of a fixed or drawn size."""
        return value if isinstance(value, int) else value[1]


@dataclass(frozen=True)
class EpisodeArrays:
    """Episodes of one shape: T tasks of S support and Q query examples, as the source stores them.

    `episodes` [T] are their numbers in the stream; x arrays are [T, S, ...] and [T, Q, ...]; classification labels are
    int64 in [0, ways), permuted per task; `ways` is None for regression.
    """

    episodes: IntArray
    ways: int | None
    support_x: NDArray[Any]
    support_y: NDArray[Any]
    query_x: NDArray[Any]
    query_y: NDArray[Any]

    @classmethod
    def of_points(cls, episodes: IntArray, x: NDArray[Any], y: NDArray[Any], shots: int) -> EpisodeArrays:
        """Regression tasks from points x and y [T, N, ...]: the first `shots` are the support set."""
        return cls(episodes, None, x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:])


class Source(ABC):
    """A stream of tasks. Episode i of a split is a pure function of (key, i), see `metamtl.data.sampler`."""

    name: str
    labelled: bool = False  # whether it has ordinary labelled examples, and no few-shot tasks
    kind: Kind  # what is predicted: it settles head, loss and metrics
    fingerprint: str  # sha256 over all that settles the episodes of any split, hexadecimal
    input_shape: tuple[int, ...]  # of one example, channels first for images
    output_size: int | None  # numbers of an output; None for tasks of classes (the ways)
    output_names: Sequence[str] = ()  # what the numbers of an output stand for, where that is known (tags)
    preprocessing: dict[str, Any]  # scale, mean, std, size, polarity: enough to treat a user's own image alike
    facts: dict[str, Any]  # what the result records: classes present per split, licence, split name ...

    @abstractmethod
    def problems(self, split: Split, shape: TaskShape) -> list[str]:
        """One sentence for each reason why `split` cannot make tasks of `shape`; empty when it can."""

    @abstractmethod
    def episodes(self, split: Split, shape: TaskShape, numbers: IntArray, key: int) -> Sequence[EpisodeArrays]:
        """The episodes with these numbers, grouped by equal shape, in the order of first appearance."""

    def split_fingerprint(self, split: Split) -> str:
        """sha256, hexadecimal, over all that settles the episodes of `split` alone; evaluation keys come from it.

        What changes training only (turned classes in training, a copy that lacks some of its classes) must leave that
        of the other splits as it is. Where a source is generated it is the whole fingerprint.
        """
        return self.fingerprint

    def class_count(self, split: Split) -> int:
        """Number of classes of a split; 0 where tasks have no classes."""
        return 0

    def outside(self, split: Split) -> NDArray[Any] | None:
        """Examples [n, ...] that are of no class at all, where the source has such: to be told from those that are."""
        return None


class MinibatchSource(Source):
    """A source whose examples also come one by one, as items of a split, labelled among all of the split's classes."""

    @abstractmethod
    def items(self, split: Split) -> IntArray:
        """The items of a split; UsageError where it has none."""

    @abstractmethod
    def gather(self, items: IntArray) -> Arrays:
        """The inputs of items, as stored."""

    @abstractmethod
    def minibatch(self, split: Split, size: int, step: int, key: int) -> tuple[IntArray, NDArray[Any]]:
        """Items and labels [size, ...] of supervised minibatch `step`, a pure function of (key, step)."""
