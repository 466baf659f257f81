"""Which items episode i holds: a pure function of (key, i), whatever other episodes are drawn beside it.

Training keys come from the run's seed, evaluation keys from `eval.seed` and the split's own data, so that runs with
other seeds, methods and training classes meet the same validation and test episodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.data.random import Keys, bits, distinct, integers, key_of
from metamtl.data.source import IntArray, Range, Source, Split, TaskShape

# what a random number of an episode is for: the first counter after the episode's number
_WAYS, _SHOTS, _GROUP, _CLASSES, _EXAMPLES = range(5)

TURNS = 4  # quarter turns that an item id has room for


@dataclass(frozen=True)
class EpisodeIndex:
    """T episodes of one shape: their numbers [T], item ids and labels [T, S] and [T, Q], labels in [0, ways).

    Both sets are class after class; the classes of a task are in random order, so that a label says nothing.
    """

    episodes: IntArray
    ways: int
    support: IntArray
    support_y: IntArray
    query: IntArray
    query_y: IntArray


@dataclass(frozen=True)
class ClassTable:
    """The classes of a split, each a run of examples and a turn; `members` lists them group after group.

    A task takes its classes from one group: group g has members[group_first[g]] and the group_size[g] - 1
    after it.
    """

    names: tuple[str, ...]
    first: IntArray  # [classes] its first example
    size: IntArray  # [classes] how many it has
    turns: IntArray  # [classes] quarter turns
    members: IntArray  # [classes]
    group_names: tuple[str, ...]
    group_first: IntArray  # [groups]
    group_size: IntArray  # [groups]


def train_key(seed: int, *stream: str) -> int:
    """The key of a run's training episodes; `stream` tells streams of one run apart (a family, a stage)."""
    return key_of("train", seed, *stream)


def eval_key(eval_seed: int, source: Source, split: Split, shape: TaskShape) -> int:
    """The key of the episodes on which every run is judged, whatever its own seed; ways count where there are any."""
    ways = shape.ways if source.kind in ("classification", "tagging") else None
    return key_of("eval", eval_seed, source.split_fingerprint(split), split, ways, shape.shots, shape.queries)


def grouped(shape: TaskShape, numbers: IntArray, key: int) -> Iterator[tuple[IntArray, Keys, int, int]]:
    """(episode numbers, their keys, ways, shots) for each pair of sizes, in order of first appearance."""
    numbers = np.asarray(numbers, dtype=np.int64)
    keys = bits(key, numbers)
    ways, shots = _drawn(shape.ways, keys, _WAYS), _drawn(shape.shots, keys, _SHOTS)
    pairs = np.stack([ways, shots], axis=1)
    _, first, which = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    for pair in np.argsort(first, kind="stable"):
        chosen = which.reshape(-1) == pair
        at = first[pair]
        yield numbers[chosen], keys[chosen], int(ways[at]), int(shots[at])


def draw(table: ClassTable, shape: TaskShape, numbers: IntArray, key: int) -> list[EpisodeIndex]:
    """The episodes with these numbers, grouped by equal ways and shots in order of first appearance.

    The table must be able to make the largest task of `shape` (`ClassSource.problems` says whether);
    ValueError if not.
    """
    return [
        _draw_equal(table, episodes, keys, ways, shots, shape.queries)
        for episodes, keys, ways, shots in grouped(shape, numbers, key)
    ]


def _drawn(size: int | Range, keys: Keys, purpose: int) -> IntArray:
    if isinstance(size, int):
        return np.full(keys.shape, size, dtype=np.int64)
    return size[0] + integers(size[1] - size[0] + 1, keys, purpose)


def _draw_equal(table: ClassTable, episodes: IntArray, keys: Keys, ways: int, shots: int, queries: int) -> EpisodeIndex:
    able = np.flatnonzero(table.group_size >= ways)
    if not len(able):
        raise ValueError(f"No group of classes has {ways} of them")
    group = able[integers(len(able), keys, _GROUP)]
    within = distinct(table.group_size[group], ways, bits(keys, _CLASSES))
    classes = table.members[table.group_first[group][:, None] + within]  # [T, ways], in random order
    example_keys = bits(bits(keys, _EXAMPLES)[:, None], np.arange(ways))
    examples = distinct(table.size[classes], shots + queries, example_keys)  # [T, ways, shots + queries]
    items = (table.first[classes][..., None] + examples) * TURNS + table.turns[classes][..., None]
    count = len(episodes)
    return EpisodeIndex(
        episodes=episodes,
        ways=ways,
        support=items[..., :shots].reshape(count, ways * shots),
        support_y=_labels(count, ways, shots),
        query=items[..., shots:].reshape(count, ways * queries),
        query_y=_labels(count, ways, queries),
    )


def _labels(count: int, ways: int, each: int) -> NDArray[Any]:
    return np.tile(np.repeat(np.arange(ways, dtype=np.int64), each), (count, 1))
