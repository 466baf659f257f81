"""Fewer labelled examples, so that what a budget of labels buys can be measured.

Weights are selected on labels as well: who has 50 to train on has no thousands to select with (Oliver, Odena, Raffel,
Cubuk & Goodfellow 2018, Realistic Evaluation of Deep Semi-Supervised Learning Algorithms, NeurIPS, section 4.6).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from metamtl.data.random import permutation
from metamtl.data.source import IntArray, Split
from metamtl.errors import UsageError

TRAIN: Split = "train"
VAL: Split = "val"


def with_labels(
    splits: Mapping[Split, IntArray], y: NDArray[np.int64], count: int | None, val_count: int | None, seed: int
) -> dict[Split, IntArray]:
    """The splits with `count` training and `val_count` validation examples; more contain fewer.

    As many of each class as can be. None keeps all training examples, and as many validation examples as training
    examples are asked for, or all where that is more or none is. UsageError where there are not so many.
    """
    if val_count is None and count is not None:
        val_count = min(count, len(splits["val"]))
    found = dict(splits)
    for key, split, what, wanted in (
        ("labels", TRAIN, "training", count),
        ("val_labels", VAL, "validation", val_count),
    ):
        if wanted is not None and wanted > len(splits[split]):
            raise UsageError(f"data.{key}={wanted}: there are {len(splits[split])} {what} examples.")
        if wanted is not None:
            found[split] = _evenly(splits[split], y, wanted, seed)
    return found


def _evenly(items: IntArray, y: NDArray[np.int64], count: int, seed: int) -> IntArray:
    """`count` of the items, class after class in turn."""
    order = items[permutation(len(items), seed, 1)]
    classes = y[order]
    turn = np.empty(len(order), dtype=np.int64)  # the first of every class, then the second of every class ...
    for one in np.unique(classes):
        turn[classes == one] = np.arange(np.count_nonzero(classes == one))
    return order[np.argsort(turn, kind="stable")[:count]]
