"""Pairs of examples of the same class and of different ones, for verification (Koch, Zemel & Salakhutdinov 2015)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metamtl.data.random import bits, distinct, integers
from metamtl.data.sampler import TURNS, ClassTable
from metamtl.data.source import IntArray

# what a random number of a pair is for: the counter after its own
_CLASSES, _EXAMPLES, _OTHER = range(3)


def draw_pairs(table: ClassTable, size: int, step: int, key: int) -> tuple[IntArray, IntArray, IntArray]:
    """Items [size] of the first and second twins, and 1 where they share a class; a pure function of (key, step).

    The first half (or one more, where `size` is odd) are two different examples of one class, the others of two
    classes. Every class needs two examples.
    """
    keys = bits(key, step, np.arange(size))
    same = np.arange(size) < (size + 1) // 2
    classes = distinct(len(table.names), 2, bits(keys, _CLASSES))
    own = distinct(table.size[classes[:, 0]], 2, bits(keys, _EXAMPLES))
    others = integers(table.size[classes[:, 1]], keys, _OTHER)
    first = _items(table, classes[:, 0], own[:, 0])
    second = np.where(same, _items(table, classes[:, 0], own[:, 1]), _items(table, classes[:, 1], others))
    return first, second, same.astype(np.int64)


def _items(table: ClassTable, classes: IntArray, examples: IntArray) -> NDArray[np.int64]:
    items: IntArray = (table.first[classes] + examples) * TURNS + table.turns[classes]
    return items
