"""Which families to train together, by their affinities.

Fifty et al. (2021), Efficiently Identifying Task Groupings for Multi-Task Learning (TAG), NeurIPS, section 3.2, with
disjoint groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache

from torch import Tensor

LISTED = 10  # families whose divisions are all tried: at most 115,975, in a second; of 13 there are 27 million
TINY = 1e-9  # a gain by rounding alone might lead round in a circle
HARM = -100.0  # a loss made a hundredfold; sums of what is larger would round by more than TINY

Group = tuple[int, ...]
Value = Callable[[Group], float]


def best_groups(affinity: Tensor, count: int) -> list[list[int]]:
    """The division of F families into at most `count` groups with the highest affinity onto a family in its group.

    `affinity` [F, F] is that of a row onto a column. Counted is the mean over families of the mean affinity of the
    others in the group onto it, zero for a family alone; what is no number counts as a hundredfold loss, and so does
    all harm beyond. Up to 10 families every division is tried. Of more, single families are merged, best pair of groups
    first, and then moved one by one, best move first, until no move helps: most often that is the best division too.
    """
    rows: list[list[float]] = affinity.nan_to_num(nan=HARM).clamp(HARM, -HARM).tolist()

    @cache
    def value(group: Group) -> float:
        """The sum over the group's families of what the others do to each."""
        return sum(rows[i][j] for i in group for j in group if i != j) / max(1, len(group) - 1)

    if len(rows) <= LISTED:
        found = max(_divisions(len(rows), count), key=lambda groups: sum(map(value, groups)))
    else:
        found = _moved(_merged(len(rows), count, value), count, value)
    return sorted(map(list, found))


def _divisions(items: int, count: int) -> Iterator[list[Group]]:
    """All divisions of range(`items`) into at most `count` groups."""
    if items == 0:
        yield []
        return
    for groups in _divisions(items - 1, count):
        for place in range(len(groups)):
            yield [(*group, items - 1) if place == at else group for at, group in enumerate(groups)]
        if len(groups) < count:
            yield [*groups, (items - 1,)]


def _merged(items: int, count: int, value: Value) -> list[Group]:
    """Single families merged until there are `count` groups, and on while it helps."""
    groups: list[Group] = [(item,) for item in range(items)]
    while len(groups) > 1:
        pairs = (((one, two), (_sorted((*one, *two)),)) for at, one in enumerate(groups) for two in groups[:at])
        gain, old, new = _best(pairs, value)
        if len(groups) <= count and gain <= TINY:
            break
        groups = [group for group in groups if group not in old] + list(new)
    return groups


def _moved(groups: list[Group], count: int, value: Value) -> list[Group]:
    """The groups after moves of one family to another group, or to one of its own, until none helps."""
    while True:
        places = [*groups, ()] if len(groups) < count else groups
        moves = (
            ((one, two), (tuple(other for other in one if other != item), _sorted((*two, item))))
            for one in groups
            for two in places
            if one != two
            for item in one
        )
        gain, old, new = _best(moves, value)
        if gain <= TINY:
            return groups
        groups = [group for group in groups if group not in old] + [group for group in new if group]


def _best(
    changes: Iterable[tuple[tuple[Group, ...], tuple[Group, ...]]], value: Value
) -> tuple[float, tuple[Group, ...], tuple[Group, ...]]:
    """The first change of old groups to new ones that gains most, with its gain; without any, a gain of zero."""
    gains = ((sum(map(value, new)) - sum(map(value, old)), old, new) for old, new in changes)
    return max(gains, key=lambda change: change[0], default=(0.0, (), ()))


def _sorted(group: Group) -> Group:
    return tuple(sorted(group))
