"""A source of classification tasks over packed classes, split by class before any new ones are made.

Rotated classes are those of Santoro et al. (2016), Meta-learning with memory-augmented neural networks, ICML.
An item is an int64: example index * 4 + quarter turns (anticlockwise).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.data.identity import digest
from metamtl.data.pairs import draw_pairs
from metamtl.data.random import permutation
from metamtl.data.sampler import TURNS, ClassTable, EpisodeIndex, draw
from metamtl.data.source import EpisodeArrays, IntArray, MinibatchSource, Split, TaskShape
from metamtl.data.store import Packed
from metamtl.errors import MetamtlError, UsageError

TURNED_BYTES = 1 << 29  # turned copies of no more than this are kept in memory; a larger set is turned as it is read


class ClassSource(MinibatchSource):
    """Tasks from classes of packed examples: images [channels, height, width], or any shape unrotated.

    `splits` names the classes of each split; in the splits of `rotations` each becomes four, turned by 0, 90,
    180 and 270 degrees; `within_group` takes all classes of a task from one group (alphabet); of each class of the
    splits of `most` no more than so many examples are there. Raises
    MetamtlError where a class is in two splits or not in the pack, UsageError where images to turn are not
    square.
    """

    def __init__(
        self,
        *,
        name: str,
        packed: Packed,
        splits: Mapping[Split, Sequence[str]],
        rotations: Collection[Split] = (),
        within_group: bool = False,
        most: Mapping[Split, int] = MappingProxyType({}),
        preprocessing: dict[str, Any],
        facts: dict[str, Any],
    ) -> None:
        _check_splits(name, packed, splits)
        if rotations and (packed.x.ndim < 3 or packed.x.shape[-1] != packed.x.shape[-2]):
            raise UsageError(f"The images of {name} are not square, so their classes cannot be rotated.")
        self.name = name
        self.kind = "classification"
        self.input_shape = packed.x.shape[1:]
        self.output_size = None
        self.preprocessing = preprocessing
        self.within_group = within_group
        rotated = sorted(rotations)
        listed = {split: list(names) for split, names in splits.items()}
        fewer = [sorted(most.items())] if most else []
        self.fingerprint = digest("classes", packed.fingerprint, listed, rotated, within_group, *fewer)
        self._split_fingerprints = {
            split: _split_fingerprint(packed, names, split in rotations, within_group, most.get(split))
            for split, names in splits.items()
        }
        self._x = np.asarray(packed.x)  # still the mapped file, without the subclass's cost
        self._tables = {
            split: _table(packed, names, TURNS if split in rotations else 1, within_group, most.get(split))
            for split, names in splits.items()
        }
        self.facts = {
            **facts,
            "classes": {split: len(names) for split, names in splits.items()},
            "examples": {split: int(table.size[table.turns == 0].sum()) for split, table in self._tables.items()},
            "rotations": rotated,
            "within_group": within_group,
        }
        self._keeps_turns = bool(rotated) and TURNS * self._x.nbytes <= TURNED_BYTES
        self._turned: NDArray[Any] | None = None
        self._items: dict[Split, IntArray] = {}
        self._label = self._first_labels()
        self._order: tuple[tuple[Split, int, int], IntArray] | None = None

    def split_fingerprint(self, split: Split) -> str:
        """Of the examples, names and order of the split's classes, their turning, and their groups if they count."""
        if split not in self._split_fingerprints:
            raise UsageError(f"{self.name} has no {split} split.")
        return self._split_fingerprints[split]

    def class_count(self, split: Split) -> int:
        """How many classes the split has, rotated ones included."""
        return len(self._table(split).names)

    def class_names(self, split: Split) -> tuple[str, ...]:
        """Names by class label; a turned class is named as `Greek/character01@90`."""
        return self._table(split).names

    def items(self, split: Split) -> IntArray:
        """Every item of the split, class after class; read-only, as it is made once."""
        if split not in self._items:
            self._items[split] = _items(self._table(split))
        return self._items[split]

    def labels(self, items: IntArray) -> IntArray:
        """The class of each item in its own split, any leading shape; ValueError for one of no split."""
        first = self._label[items // TURNS]
        if (first < 0).any():
            raise ValueError(f"An item of {self.name} belongs to no split")
        return first + items % TURNS

    def gather(self, items: IntArray) -> NDArray[Any]:
        """The examples of items of any leading shape, as stored, turned."""
        flat = items.reshape(-1)
        example, turns = np.divmod(flat, TURNS)
        if not turns.any():
            found = self._x[example]
        elif self._keeps_turns:
            found = self._every_turn()[flat]
        else:
            found = np.empty((len(flat), *self.input_shape), dtype=self._x.dtype)
            for turn in range(TURNS):
                chosen = np.flatnonzero(turns == turn)
                found[chosen] = np.rot90(self._x[example[chosen]], turn, axes=(-2, -1))
        return found.reshape(*items.shape, *self.input_shape)

    def minibatch(self, split: Split, size: int, step: int, key: int) -> tuple[IntArray, IntArray]:
        """Items and class labels [size] of supervised minibatch `step`, a pure function of (key, step).

        The stream passes through a fresh order of the split's items each epoch; a batch may end one and begin
        another.
        """
        items = self.items(split)
        epoch, place = np.divmod(np.arange(step * size, (step + 1) * size), len(items))
        parts = [
            items[self._epoch_order(split, key, int(one), len(items))[place[epoch == one]]] for one in np.unique(epoch)
        ]
        chosen = np.concatenate(parts)
        return chosen, self.labels(chosen)

    def pairs(self, split: Split, size: int, step: int, key: int) -> tuple[IntArray, IntArray, IntArray]:
        """Items and labels [size] of pairs, a pure function of (key, step), see `pairs.draw_pairs`."""
        return draw_pairs(self._table(split), size, step, key)

    def index(self, split: Split, shape: TaskShape, numbers: IntArray, key: int) -> list[EpisodeIndex]:
        """Items and labels of the episodes with these numbers, grouped by equal shape, see `sampler.draw`."""
        return draw(self._table(split), shape, numbers, key)

    def episodes(self, split: Split, shape: TaskShape, numbers: IntArray, key: int) -> Sequence[EpisodeArrays]:
        """The episodes with these numbers, grouped by equal shape, in the order of first appearance."""
        return [
            EpisodeArrays(
                episodes=one.episodes,
                ways=one.ways,
                support_x=self.gather(one.support),
                support_y=one.support_y,
                query_x=self.gather(one.query),
                query_y=one.query_y,
            )
            for one in self.index(split, shape, numbers, key)
        ]

    def problems(self, split: Split, shape: TaskShape) -> list[str]:
        """A sentence for each reason why `split` cannot make tasks of `shape`, with the nearest it can."""
        table = self._tables.get(split)
        if table is None or not table.names:
            return [f"{self.name} has no classes in its {split} split."]
        found = [self._too_many_ways(split, table, shape), self._too_few_examples(split, table, shape)]
        return [sentence for sentence in found if sentence]

    def _too_many_ways(self, split: Split, table: ClassTable, shape: TaskShape) -> str:
        ways, at = shape.largest(shape.ways), int(table.group_size.argmax())
        most = int(table.group_size[at])
        if ways <= most:
            return ""
        if self.within_group:
            return (
                f"No group of classes in the {split} split of {self.name} is large enough for {ways} "
                f"ways within one group; the largest, {table.group_names[at]}, allows task.ways={most}."
            )
        return (
            f"The {split} split of {self.name} has {most} classes, too few for {ways} ways; "
            f"the nearest possible is task.ways={most}."
        )

    def _too_few_examples(self, split: Split, table: ClassTable, shape: TaskShape) -> str:
        shots, at = shape.largest(shape.shots), int(table.size.argmin())
        has, needed = int(table.size[at]), shots + shape.queries
        if needed <= has:
            return ""
        others = int((table.size < needed).sum()) - 1
        also = f" (and {others} other classes have too few)" if others else ""
        nearest = f"task.queries={has - shots}" if has > shots else f"task.shots={has - 1} with task.queries=1"
        advice = f"the nearest possible is {nearest}" if has > 1 else "give it more or leave it out"
        return (
            f"The class '{table.names[at]}' in the {split} split of {self.name} has {has} examples{also}, "
            f"fewer than {shots} shots + {shape.queries} queries = {needed}; {advice}."
        )

    def _table(self, split: Split) -> ClassTable:
        if split not in self._tables:
            raise UsageError(f"{self.name} has no {split} split.")
        return self._tables[split]

    def _every_turn(self) -> NDArray[Any]:
        """[examples * TURNS, ...]: the row of each item, made when the first turned one is asked for."""
        if self._turned is None:
            turned = np.empty((len(self._x), TURNS, *self.input_shape), dtype=self._x.dtype)
            for turn in range(TURNS):
                turned[:, turn] = np.rot90(self._x, turn, axes=(-2, -1))
            self._turned = turned.reshape(-1, *self.input_shape)
        return self._turned

    def _first_labels(self) -> IntArray:
        """[examples]: the label of the example's class unturned, -1 where no split has it."""
        label = np.full(len(self._x), -1, dtype=np.int64)
        for table in self._tables.values():
            for c in np.flatnonzero(table.turns == 0):
                label[table.first[c] : table.first[c] + table.size[c]] = c
        return label

    def _epoch_order(self, split: Split, key: int, epoch: int, size: int) -> IntArray:
        """The order of one epoch; the latest is kept, as every minibatch of it asks."""
        if self._order is None or self._order[0] != (split, key, epoch):
            self._order = (split, key, epoch), permutation(size, key, epoch)
        return self._order[1]


def _check_splits(name: str, packed: Packed, splits: Mapping[Split, Sequence[str]]) -> None:
    seen = Counter(one for names in splits.values() for one in names)
    if repeated := [one for one, times in seen.items() if times > 1]:
        raise MetamtlError(
            f"The class '{repeated[0]}' of {name} is in two splits, or twice in one ({len(repeated)} such)."
        )
    if absent := sorted(seen.keys() - set(packed.classes)):
        raise MetamtlError(f"The splits of {name} name the class '{absent[0]}', which its data lacks.")


def _items(table: ClassTable) -> IntArray:
    owner = np.repeat(np.arange(len(table.names)), table.size)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(table.size) - table.size, table.size)
    items: IntArray = (table.first[owner] + within) * TURNS + table.turns[owner]
    items.flags.writeable = False
    return items


def _split_fingerprint(
    packed: Packed, names: Sequence[str], rotated: bool, within_group: bool, most: int | None
) -> str:
    place = {one: at for at, one in enumerate(packed.classes)}
    classes = [(one, packed.groups[place[one]] if within_group else "", packed.digests[place[one]]) for one in names]
    fewer = [] if most is None else [most]
    return digest("split", classes, packed.x.shape[1:], packed.x.dtype.str, rotated, *fewer)


def _table(packed: Packed, names: Sequence[str], fold: int, within_group: bool, most: int | None) -> ClassTable:
    """Class c of a rotated split is names[c // 4] turned c % 4 times; one group unless `within_group`."""
    place = {one: at for at, one in enumerate(packed.classes)}
    base = np.repeat(np.array([place[one] for one in names], dtype=np.int64), fold)
    turns = np.tile(np.arange(fold, dtype=np.int64), len(names))
    groups = [packed.groups[at] if within_group else "" for at in base]
    group_names = tuple(dict.fromkeys(groups))
    number = np.array([group_names.index(one) for one in groups], dtype=np.int64)
    group_size = np.bincount(number, minlength=len(group_names)).astype(np.int64)
    size = packed.offsets[base + 1] - packed.offsets[base]
    return ClassTable(
        names=tuple(
            packed.classes[at] + (f"@{90 * turn}" if turn else "") for at, turn in zip(base, turns, strict=True)
        ),
        first=packed.offsets[base],
        size=size if most is None else size.clip(max=most),
        turns=turns,
        members=np.argsort(number, kind="stable"),
        group_names=group_names,
        group_first=np.cumsum(group_size) - group_size,
        group_size=group_size,
    )
