"""Which of the characters that look alike stay: Latin A, Greek Alpha and Cyrillic A are one drawing.

Drawings come normalised, cropped to their ink and scaled to one length of the longer side, so that their distance
looks neither at size nor at place. It is |a - b|^2 / (|a|^2 + |b|^2) over slightly blurred 24 x 24 pixels: 0 for equal
drawings, 1 for drawings without ink in common. Two characters are as far apart as the nearest pair of their drawings:
each upright face of the one against the same face of the other; the first face that has the one against the first that
has the other; and, since a small sign that is scaled up has heavier strokes than a large one of the same shape, these
against one another in a second, heavier weight, where the distance counts twice (heavy strokes close the gaps by which
dense signs differ).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from metamtl.data.glyph_drawing import stroked
from metamtl.data.glyph_fonts import CANVAS, UPRIGHT, Drawings
from metamtl.data.source import Split

# Both were chosen on sheets of the nearest pairs. Within a split, pairs below SAME are one sign in two weights or an
# accent apart. Across splits a class must not be recognisable by another one, so the bar is higher: up to 0.11 pairs
# of one sign turn up (the arrow of Arrows and that of Dingbats, V and the inverted A, T and the raised T); past
# LOOKALIKE nearly all differ by a stroke, a dot or a bend that survives 28 pixels, as K and its barred form do.
SAME = 0.04
LOOKALIKE = 0.12

Table = dict[str, tuple[NDArray[np.intp], NDArray[np.float32]]]  # by face: which characters, their pixels

FIRST, WEIGHTS = "first", "weights"

_SIDE = 24
_MARGIN = 8  # pixels around the ink of a normalised drawing that no character reaches
_PRIORITY: Mapping[Split, int] = {"train": 0, "val": 1, "test": 2}


def distinct(drawings: Sequence[Drawings], splits: Sequence[Split]) -> list[int]:
    """The places of the characters that stay, in order.

    Of characters in one split nearer than SAME the first stays. Of characters in different splits nearer than
    LOOKALIKE, at any quarter turn, the one that resembles the most of the others goes, one after another until none
    resembles any; of equals the one in training goes before the one in validation, and that before the one in testing.
    """
    table = tabulated(drawings)
    chosen: list[int] = []
    for split in _PRIORITY:
        chosen += _first_of_each(table, [i for i, one in enumerate(splits) if one == split])
    resembling: dict[int, set[int]] = {}
    for i, j in resembling_across(table, splits, chosen):
        resembling.setdefault(i, set()).add(j)
        resembling.setdefault(j, set()).add(i)
    gone: set[int] = set()
    while True:
        worst = max(resembling, key=lambda i: (len(resembling[i]), -_PRIORITY[splits[i]], i), default=None)
        if worst is None or not resembling[worst]:
            return sorted(set(chosen) - gone)
        gone.add(worst)
        for other in resembling.pop(worst):
            resembling[other].remove(worst)


def tabulated(drawings: Sequence[Drawings]) -> Table:
    """The characters' blurred drawings [n, 24, 24]: in each upright face, in the first, and in both its weights."""
    table: Table = {}
    for face in UPRIGHT:
        rows = [i for i, one in enumerate(drawings) if face in one]
        if rows:
            table[face] = (np.array(rows), _blurred(np.stack([drawings[i][face] for i in rows])))
    places, first = np.arange(len(drawings)), [next(iter(one.values())) for one in drawings]
    table[FIRST] = (places, _blurred(np.stack(first)))
    heavy = _blurred(np.stack([stroked(one, "heavy") for one in first]))
    table[WEIGHTS] = (np.tile(places, 2), np.concatenate([table[FIRST][1], heavy]))
    return table


def resembling_across(table: Table, splits: Sequence[Split], among: Sequence[int]) -> set[tuple[int, int]]:
    """Pairs of characters `among` these that lie in different splits, nearer than LOOKALIKE at some quarter turn."""
    of = [[i for i in among if splits[i] == split] for split in _PRIORITY]
    return {
        pair
        for first, second in combinations(of, 2)
        for turns in range(4)
        for pair in near(table, first, second, turns, LOOKALIKE)
    }


def near(
    table: Table, first: Sequence[int], second: Sequence[int], turns: int, threshold: float
) -> set[tuple[int, int]]:
    """Pairs (i of `first`, j of `second`) nearer than `threshold` when j is turned by so many quarters."""
    pairs: set[tuple[int, int]] = set()
    for key, (rows, images) in table.items():
        a, b = np.flatnonzero(np.isin(rows, first)), np.flatnonzero(np.isin(rows, second))
        x = images[a].reshape(len(a), _SIDE * _SIDE)
        y = np.rot90(images[b], turns, axes=(1, 2)).reshape(len(b), _SIDE * _SIDE)
        bar = threshold / 2 if key == WEIGHTS else threshold
        size = (x**2).sum(1)[:, None] + (y**2).sum(1)
        i, j = np.nonzero(2 * (x @ y.T) > (1 - bar) * size)
        pairs |= set(zip(rows[a[i]].tolist(), rows[b[j]].tolist(), strict=True))
    return pairs


def _first_of_each(table: Table, members: list[int]) -> list[int]:
    later: dict[int, list[int]] = {}
    for i, j in near(table, members, members, 0, SAME):
        if i < j:
            later.setdefault(i, []).append(j)
    gone: set[int] = set()
    for i in members:
        if i not in gone:
            gone.update(later.get(i, ()))
    return [i for i in members if i not in gone]


def _blurred(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    inked = images[:, _MARGIN : CANVAS - _MARGIN, _MARGIN : CANVAS - _MARGIN].astype(np.float32) / 255
    small = inked.reshape(len(images), _SIDE, 2, _SIDE, 2).mean(axis=(2, 4))
    for axis in (1, 2):  # binomial, 1 2 1; the margin is blank, so that rolling over the edge brings no ink
        small = (np.roll(small, 1, axis) + 2 * small + np.roll(small, -1, axis)) / 4
    return np.asarray(small, dtype=np.float32)
