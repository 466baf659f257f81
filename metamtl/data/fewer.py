"""Fewer labelled examples, so that what a budget of labels buys can be measured.

Weights are selected on labels as well: who has 50 to train on has no thousands to select with (Oliver, Odena, Raffel,
Cubuk & Goodfellow 2018, Realistic Evaluation of Deep Semi-Supervised Learning Algorithms, NeurIPS, section 4.6).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from metamtl.data.random import permutation
from metamtl.data.source import IntArray, Split
from metamtl.errors import UsageError

TRAIN: Split = "train"
VAL: Split = "val"
A_CLASS = 20  # examples that a class of tasks has at least, which is what Omniglot's have


def with_labels(
    splits: Mapping[Split, IntArray], y: NDArray[np.int64], count: int | None, val_count: int | None, seed: int
) -> dict[Split, IntArray]:
    """The splits with `count` training and `val_count` validation examples; more contain fewer.

    As many of each class as can be. None keeps all training examples, and as many validation examples as training
    examples are asked for, or all where that is more or none is. UsageError where there are not so many.
    """
    found = dict(splits)
    for split, wanted in _wanted({split: len(items) for split, items in splits.items()}, count, val_count).items():
        found[split] = _evenly(splits[split], y, wanted, seed)
    return found


def with_labelled_classes(
    listed: Mapping[Split, Iterable[str]], sizes: Mapping[str, int], count: int | None, val_count: int | None
) -> tuple[dict[Split, list[str]], dict[Split, int]]:
    """The splits with the classes that `count` training and `val_count` validation examples make, and how many of each.

    Of the classes listed, those that `sizes` has, the number of examples of each; others are not at hand.
    As many classes of A_CLASS examples as that makes; where it makes more than there are, equally many examples of
    every class that has so many, and never more than asked for. More labels contain fewer. None is as in `with_labels`.
    """
    found: dict[Split, list[str]] = {
        split: [name for name in names if name in sizes] for split, names in listed.items()
    }
    each: dict[Split, int] = {}
    totals = {split: sum(sizes[name] for name in names) for split, names in found.items()}
    for split, wanted in _wanted(totals, count, val_count).items():
        if wanted < A_CLASS:
            key = "labels" if split == TRAIN or val_count is None else "val_labels"
            raise UsageError(f"data.{key}={wanted}: fewer than the {A_CLASS} examples of one class.")
        # drawn by a hash and not by numpy, which may change what a seed draws
        drawn = sorted(found[split], key=lambda name: hashlib.sha256(name.encode()).digest())
        kept = set(drawn[: wanted // A_CLASS])
        found[split] = [name for name in found[split] if name in kept]
        if len(kept) < len(drawn):
            each[split] = A_CLASS
        elif wanted < totals[split]:
            each[split] = _largest_share([sizes[name] for name in drawn], wanted)
    return found, each


def _largest_share(sizes: Sequence[int], wanted: int) -> int:
    """The most examples of each class that are `wanted` at most together, where some classes have fewer."""
    share = wanted // len(sizes)
    while sum(min(size, share + 1) for size in sizes) <= wanted:
        share += 1
    return share


def _wanted(totals: Mapping[Split, int], count: int | None, val_count: int | None) -> dict[Split, int]:
    """How many examples of which splits are kept; UsageError where there are not so many."""
    if val_count is None and count is not None:
        val_count = min(count, totals[VAL])
    found = {}
    for key, split, what, wanted in (
        ("labels", TRAIN, "training", count),
        ("val_labels", VAL, "validation", val_count),
    ):
        if wanted is not None and wanted > totals[split]:
            raise UsageError(f"data.{key}={wanted}: there are {totals[split]} {what} examples.")
        if wanted is not None:
            found[split] = wanted
    return found


def _evenly(items: IntArray, y: NDArray[np.int64], count: int, seed: int) -> IntArray:
    """`count` of the items, class after class in turn."""
    order = items[permutation(len(items), seed, 1)]
    classes = y[order]
    turn = np.empty(len(order), dtype=np.int64)  # the first of every class, then the second of every class ...
    for one in np.unique(classes):
        turn[classes == one] = np.arange(np.count_nonzero(classes == one))
    return order[np.argsort(turn, kind="stable")[:count]]
