"""Labelled examples divided into splits once: an ordinary supervised family, trained on minibatches, tested on all.

A label may be missing: -1 for classes, NaN for numbers. An item is an example's index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.data.fewer import with_labels
from metamtl.data.identity import array_digest, digest
from metamtl.data.random import in_epochs
from metamtl.data.source import Arrays, EpisodeArrays, IntArray, Kind, MinibatchSource, Split, TaskShape
from metamtl.errors import MetamtlError, UsageError


def on_arrays(values: Arrays, items: IntArray) -> Arrays:
    """The rows `items` of an array, or of every named one."""
    if isinstance(values, dict):
        return {name: array[items] for name, array in values.items()}
    return values[items]


class ExampleSource(MinibatchSource):
    """Examples x [N, ...] (or named arrays) with labels y [N, ...], and the items of each split.

    `identity` is that of the examples themselves where x is one of several forms that they may take (texts, as numbers
    that depend on who reads them), and `originals` names what the items number where sources change one set of pictures
    or ask several questions about it. `labels` and `val_labels` are how many training and validation examples are kept,
    drawn by `split_seed`: as many of each class as can be, or any where labels are no classes (see `with_labels`).
    Raises MetamtlError where an item is in two splits, UsageError where a split has fewer examples than are to be kept.
    """

    labelled = True

    def __init__(
        self,
        *,
        name: str,
        kind: Kind,
        x: Arrays,
        y: NDArray[Any],
        splits: Mapping[Split, IntArray],
        output_size: int,
        output_names: Sequence[str] = (),
        preprocessing: dict[str, Any] | None = None,
        facts: dict[str, Any] | None = None,
        identity: str = "",
        originals: str = "",
        labels: int | None = None,
        val_labels: int | None = None,
        split_seed: int = 0,
    ) -> None:
        every = np.concatenate(list(splits.values()))
        if len(np.unique(every)) != len(every):
            raise MetamtlError(f"An example of {name} is in two splits.")
        self.name, self.kind, self.output_size = name, kind, output_size
        self.output_names = tuple(output_names)
        self._x, self._y = x, y
        classes = y if kind == "classification" else np.zeros(len(y), dtype=np.int64)
        kept = with_labels(splits, classes, labels, val_labels, split_seed)
        self._splits = {split: np.sort(items) for split, items in kept.items()}
        first = x if isinstance(x, np.ndarray) else next(iter(x.values()))
        self.input_shape = first.shape[1:]
        self.preprocessing = preprocessing or {}
        counts = {split: len(items) for split, items in self._splits.items()}
        self.facts = {"examples": counts, **(facts or {})}
        named = x if isinstance(x, dict) else {"x": x}
        content = {key: array_digest(array) for key, array in {**named, "y": y}.items()}
        listed = {split: array_digest(items) for split, items in self._splits.items()}
        self.fingerprint = digest("examples", name, kind, content, listed)
        whole = digest("identity", name, identity) if identity else digest("content", name, kind, content)
        self._split_fingerprints = {split: digest("split", whole, items) for split, items in listed.items()}
        self.originals = originals or self.fingerprint

    def split_fingerprint(self, split: Split) -> str:
        """That of the split's own examples, whatever form they have here and whatever the other splits keep."""
        self.items(split)  # there is one
        return self._split_fingerprints[split]

    def items(self, split: Split) -> IntArray:
        """The items of a split; UsageError where it has none."""
        if split not in self._splits:
            raise UsageError(f"{self.name} has no {split} split.")
        return self._splits[split]

    def gather(self, items: IntArray) -> Arrays:
        """The inputs of items, as stored."""
        return on_arrays(self._x, items)

    def targets(self, items: IntArray) -> NDArray[Any]:
        """The labels of items."""
        labels: NDArray[Any] = self._y[items]
        return labels

    def minibatch(self, split: Split, size: int, step: int, key: int) -> tuple[IntArray, NDArray[Any]]:
        """Items and labels [size] of minibatch `step`, a pure function of (key, step): a fresh order each epoch."""
        chosen = in_epochs(self.items(split), size, step, key)
        return chosen, self.targets(chosen)

    def problems(self, split: Split, shape: TaskShape) -> list[str]:
        """A sentence where the split is empty; the shape of tasks is not looked at."""
        return [] if len(self._splits.get(split, ())) else [f"{self.name} has no examples in its {split} split."]

    def episodes(self, split: Split, shape: TaskShape, numbers: IntArray, key: int) -> Sequence[EpisodeArrays]:
        """None: UsageError that says what to take instead."""
        raise UsageError(f"{self.name} has labelled examples and no few-shot tasks: train it with algo=joint.")
