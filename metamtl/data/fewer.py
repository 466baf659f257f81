"""Fewer labelled training examples, so that what a budget of labels buys can be measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from metamtl.data.random import permutation
from metamtl.data.source import IntArray, Split
from metamtl.errors import UsageError


def with_labels(
    splits: Mapping[Split, IntArray], y: NDArray[np.int64], count: int | None, seed: int
) -> dict[Split, IntArray]:
    """The splits with `count` training examples (None: all), as many of each class as can be; more contain fewer.

    UsageError where there are not so many.
    """
    if count is None:
        return dict(splits)
    train = splits["train"]
    if count > len(train):
        raise UsageError(f"data.labels={count}: there are {len(train)} training examples.")
    order = train[permutation(len(train), seed, 1)]
    classes = y[order]
    turn = np.empty(len(order), dtype=np.int64)  # the first of every class, then the second of every class ...
    for one in np.unique(classes):
        turn[classes == one] = np.arange(np.count_nonzero(classes == one))
    return {**splits, "train": order[np.argsort(turn, kind="stable")[:count]]}
