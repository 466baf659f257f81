"""Few-shot tasks of finding entities: types of one domain are to be told from a few sentences with each.

A task draws `ways` types of a domain. Its support set has `shots` sentences with an entity of each type and its query
set `queries` more, all different; entities of other types are ordinary words in it. Words are labelled 0, or from 1 by
their entity's type, without a mark of its beginning, as Ding et al. (2021), Few-NERD, ACL, section 4, do: each label
then has an example in every support set. Minibatches hold sentences of all domains of a split, whose words are labelled
0, or from 1 by their type among those of all these domains: what two of them call by one name is one type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.data.identity import digest
from metamtl.data.random import bits, in_epochs, integers, permutation
from metamtl.data.sentences import Sentence, without_crossings
from metamtl.data.source import EpisodeArrays, IntArray, MinibatchSource, Range, Split, TaskShape
from metamtl.data.tokens import Tokeniser, labels_at
from metamtl.errors import UsageError

Splits = Mapping[Split, Mapping[str, Sequence[Sentence]]]
Groups = dict[tuple[int, int], list[tuple[int, list[NDArray[Any]]]]]

_WAYS, _SHOTS, _DOMAIN, _TYPES, _SENTENCES = range(5)  # what a random number of a task is for


@dataclass(frozen=True)
class Domain:
    """The sentences of a domain in one split: their items, and of these the ones `having` each of `types`.

    `labels` are those of its types in minibatches.
    """

    name: str
    types: tuple[str, ...]
    labels: IntArray
    items: IntArray
    having: tuple[IntArray, ...]

    def label(self, tag: str) -> int:
        """The label of a word with this tag; 0 of one that is in no entity."""
        return 0 if tag == "O" else int(self.labels[self.types.index(tag[2:])])


class TaggingTasks(MinibatchSource):
    """Tasks from the domains of each split; a sentence of two splits stays with the later.

    `splits` names the sentences of each domain, whose tags are BIO. An item is a sentence's number among those of all
    splits.
    """

    kind = "tagging"

    def __init__(
        self,
        *,
        name: str,
        splits: Splits,
        tokens: Tokeniser,
        facts: dict[str, Any],
    ) -> None:
        left, copies = _without_crossings(splits)
        self.name, self.output_size = name, None
        self._texts: dict[Split, str] = {
            split: digest([(domain, [(one.words, one.tags) for one in every]) for domain, every in domains.items()])
            for split, domains in left.items()
        }
        self._domains = _numbered(left)
        every = [(one, domain) for split in left for domain in self._domains[split] for one in left[split][domain.name]]
        encoded = tokens.encode([one.words for one, _ in every])
        self._x = encoded.x
        self._y = labels_at(encoded, [[domain.label(tag) for tag in one.tags] for one, domain in every])
        self.input_shape = encoded.x.shape[1:]
        self.preprocessing = dict(tokens.record)
        domains_of = {split: {one.name: list(one.types) for one in each} for split, each in self._domains.items()}
        counts = {split: {one.name: len(one.items) for one in each} for split, each in self._domains.items()}
        self.facts = {**facts, "domains": domains_of, "sentences": counts, "copies": copies, "texts_cut": encoded.cut}
        self.fingerprint = digest("tagging tasks", self._texts, self.preprocessing)

    def split_fingerprint(self, split: Split) -> str:
        """Of sentences and tags and not of the numbers made of them: whatever reads them, the tasks are the same."""
        return self._texts[split]

    def class_count(self, split: Split) -> int:
        """How many labels the words of minibatches have: a type's each, and 0."""
        return 1 + max(int(one.labels.max(initial=0)) for one in self._of(split))

    def items(self, split: Split) -> IntArray:
        """Every sentence of the split, domain after domain."""
        return np.concatenate([one.items for one in self._of(split)])

    def gather(self, items: IntArray) -> NDArray[Any]:
        """The sentences of items, as numbers [size, length, ...]."""
        found: NDArray[Any] = self._x[items]
        return found

    def minibatch(self, split: Split, size: int, step: int, key: int) -> tuple[IntArray, NDArray[Any]]:
        """Items [size] and labels [size, length] of minibatch `step`, a pure function of (key, step)."""
        chosen = in_epochs(self.items(split), size, step, key)
        return chosen, self._y[chosen]

    def problems(self, split: Split, shape: TaskShape) -> list[str]:
        """A sentence where no domain of the split has as many types with as many sentences."""
        ways, needed = shape.largest(shape.ways), self._needed(shape)
        best = max(self._domains.get(split, ()), key=lambda one: len(self._usable(one, needed)), default=None)
        if best is None:
            return [f"{self.name} has no domains in its {split} split."]
        if len(self._usable(best, needed)) >= ways:
            return []
        return [
            f"The {split} split of {self.name} has no domain with {ways} types of entities in {needed} sentences each; "
            f"{best.name} allows task.ways={len(self._usable(best, needed))}."
        ]

    def episodes(self, split: Split, shape: TaskShape, numbers: IntArray, key: int) -> Sequence[EpisodeArrays]:
        """The tasks with these numbers, grouped by equal shape."""
        groups: Groups = {}
        for number in numbers.tolist():
            ways, shots = (_drawn(size, key, number, use) for size, use in ((shape.ways, _WAYS), (shape.shots, _SHOTS)))
            task = self._task(split, ways, shots, shape, int(bits(key, number)))
            groups.setdefault((ways, shots), []).append((number, task))
        return [_stacked(ways, tasks) for (ways, _), tasks in groups.items()]

    def _task(self, split: Split, ways: int, shots: int, shape: TaskShape, key: int) -> list[NDArray[Any]]:
        """Support and query x and y of one task."""
        needed = self._needed(shape)
        able = [one for one in self._domains[split] if len(self._usable(one, needed)) >= ways]
        domain = able[int(integers(len(able), key, _DOMAIN))]
        usable = self._usable(domain, needed)
        types = usable[permutation(len(usable), key, _TYPES)[:ways]]
        taken: set[int] = set()
        chosen: list[list[int]] = []
        for way, one in enumerate(types):
            having = domain.having[one]
            order = having[permutation(len(having), key, _SENTENCES, way)].tolist()
            mine = [sentence for sentence in order if sentence not in taken][: shots + shape.queries]
            taken |= set(mine)
            chosen.append(mine)
        support = np.array([one for mine in chosen for one in mine[:shots]], dtype=np.int64)
        query = np.array([one for mine in chosen for one in mine[shots:]], dtype=np.int64)
        label = np.zeros(self.class_count(split), dtype=np.int16)
        label[domain.labels[types]] = np.arange(1, ways + 1)
        own = [np.where(self._y[items] < 0, np.int16(-1), label[self._y[items]]) for items in (support, query)]
        return [self._x[support], own[0], self._x[query], own[1]]

    def _of(self, split: Split) -> list[Domain]:
        if not self._domains.get(split):
            raise UsageError(f"{self.name} has no domains in its {split} split.")
        return self._domains[split]

    def _needed(self, shape: TaskShape) -> int:
        """Sentences that a type must be in so that the other types of a task cannot take the last of them."""
        return shape.largest(shape.ways) * (shape.largest(shape.shots) + shape.queries)

    def _usable(self, domain: Domain, needed: int) -> IntArray:
        return np.array([at for at, having in enumerate(domain.having) if len(having) >= needed], dtype=np.int64)


def _without_crossings(splits: Splits) -> tuple[Splits, int]:
    """The splits without sentences that a later one has, and how many these are."""
    every = {split: [one for mine in domains.values() for one in mine] for split, domains in splits.items()}
    kept, copies = without_crossings(every)
    ids = {split: {id(one) for one in sentences} for split, sentences in kept.items()}
    left: Splits = {
        split: {domain: [one for one in mine if id(one) in ids[split]] for domain, mine in domains.items()}
        for split, domains in splits.items()
    }
    return left, copies


def _numbered(splits: Splits) -> dict[Split, list[Domain]]:
    """The domains of each split: items are numbered over all splits, and labels over the types of a split."""
    found: dict[Split, list[Domain]] = {}
    first = 0
    for split, domains in splits.items():
        every = _types(one for sentences in domains.values() for one in sentences)
        found[split] = []
        for name, sentences in domains.items():
            types, items = _types(sentences), np.arange(first, first + len(sentences))
            labels = np.array([1 + every.index(one) for one in types], dtype=np.int64)
            # by the tags and not by y, where a long sentence may be cut
            inside = [_types([one]) for one in sentences]
            having = tuple(items[[one in each for each in inside]] for one in types)
            found[split].append(Domain(name, types, labels, items, having))
            first += len(sentences)
    return found


def _types(sentences: Iterable[Sentence]) -> tuple[str, ...]:
    return tuple(sorted({tag[2:] for one in sentences for tag in one.tags if tag != "O"}))


def _stacked(ways: int, tasks: Sequence[tuple[int, list[NDArray[Any]]]]) -> EpisodeArrays:
    """Tasks of one shape, each with its number, support x and y, query x and y."""
    numbers = np.array([number for number, _ in tasks], dtype=np.int64)
    sets = zip(*(task for _, task in tasks), strict=True)
    return EpisodeArrays(numbers, ways + 1, *(np.stack(arrays) for arrays in sets))


def _drawn(size: int | Range, key: int, number: int, use: int) -> int:
    return size if isinstance(size, int) else size[0] + int(integers(size[1] - size[0] + 1, key, number, use))
