"""Few-shot tasks of finding entities: types of one domain are to be told from a few sentences with each.

A task draws `ways` types of a domain. Its support set has `shots` sentences with an entity of each type and its query
set `queries` more, all different; entities of other types are ordinary words in it. Words are labelled 0, or from 1 by
their entity's type, without a mark of its beginning, as Ding et al. (2021), Few-NERD, ACL, section 4, do: each label
then has an example in every support set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.data.identity import digest
from metamtl.data.random import bits, integers, permutation
from metamtl.data.sentences import Sentence, without_crossings
from metamtl.data.source import EpisodeArrays, IntArray, Range, Source, Split, TaskShape
from metamtl.data.tokens import Tokeniser, labels_at

Groups = dict[tuple[int, int], list[tuple[int, list[NDArray[Any]]]]]

_WAYS, _SHOTS, _DOMAIN, _TYPES, _SENTENCES = range(5)  # what a random number of a task is for


@dataclass(frozen=True)
class Domain:
    """The sentences of a domain in one split: x [n, length, ...], and the type of each word's entity [n, length].

    Types are numbered from 1; 0 is no entity and -1 no word. `having` lists the sentences that have each of `types`.
    """

    name: str
    types: tuple[str, ...]
    x: NDArray[Any]
    y: NDArray[np.int16]
    having: tuple[IntArray, ...]


class TaggingTasks(Source):
    """Tasks from the domains of each split; a sentence of two splits stays with the later.

    `splits` names the sentences of each domain, whose tags are BIO. A domain's types are tags of its own, whatever
    others call theirs.
    """

    kind = "tagging"

    def __init__(
        self,
        *,
        name: str,
        splits: Mapping[Split, Mapping[str, Sequence[Sentence]]],
        tokens: Tokeniser,
        facts: dict[str, Any],
    ) -> None:
        kept, copies = without_crossings(
            {split: [one for every in domains.values() for one in every] for split, domains in splits.items()}
        )
        left = {split: {id(one) for one in sentences} for split, sentences in kept.items()}
        self.name, self.output_size = name, None
        self._texts: dict[Split, str] = {
            split: digest(
                [
                    (domain, [(one.words, one.tags) for one in every if id(one) in left[split]])
                    for domain, every in domains.items()
                ]
            )
            for split, domains in splits.items()
        }
        self._cut = 0
        self._domains: dict[Split, list[Domain]] = {
            split: [
                self._domain(domain, [one for one in sentences if id(one) in left[split]], tokens)
                for domain, sentences in domains.items()
            ]
            for split, domains in splits.items()
        }
        self.input_shape = next(iter(self._domains.values()))[0].x.shape[1:]
        self.preprocessing = dict(tokens.record)
        domains_of = {split: {one.name: list(one.types) for one in each} for split, each in self._domains.items()}
        counts = {split: {one.name: len(one.x) for one in each} for split, each in self._domains.items()}
        self.facts = {**facts, "domains": domains_of, "sentences": counts, "copies": copies, "texts_cut": self._cut}
        self.fingerprint = digest("tagging tasks", self._texts, self.preprocessing)

    def split_fingerprint(self, split: Split) -> str:
        """Of sentences and tags and not of the numbers made of them: whatever reads them, the tasks are the same."""
        return self._texts[split]

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
        label = np.zeros(len(domain.types) + 1, dtype=np.int16)
        label[types + 1] = np.arange(1, ways + 1)
        own = [np.where(domain.y[items] < 0, np.int16(-1), label[domain.y[items]]) for items in (support, query)]
        return [domain.x[support], own[0], domain.x[query], own[1]]

    def _needed(self, shape: TaskShape) -> int:
        """Sentences that a type must be in so that the other types of a task cannot take the last of them."""
        return shape.largest(shape.ways) * (shape.largest(shape.shots) + shape.queries)

    def _usable(self, domain: Domain, needed: int) -> IntArray:
        return np.array([at for at, having in enumerate(domain.having) if len(having) >= needed], dtype=np.int64)

    def _domain(self, name: str, sentences: Sequence[Sentence], tokens: Tokeniser) -> Domain:
        encoded = tokens.encode([one.words for one in sentences])
        self._cut += encoded.cut
        types = tuple(sorted({tag[2:] for one in sentences for tag in one.tags if tag != "O"}))
        number = {"O": 0, **{f"{mark}-{one}": at + 1 for at, one in enumerate(types) for mark in "BI"}}
        y = labels_at(encoded, [[number[tag] for tag in one.tags] for one in sentences])
        # by the tags and not by y, where a long sentence may be cut
        found = [{tag[2:] for tag in one.tags} for one in sentences]
        having = tuple(np.flatnonzero([one in each for each in found]).astype(np.int64) for one in types)
        return Domain(name, types, encoded.x, y, having)


def _stacked(ways: int, tasks: Sequence[tuple[int, list[NDArray[Any]]]]) -> EpisodeArrays:
    """Tasks of one shape, each with its number, support x and y, query x and y."""
    numbers = np.array([number for number, _ in tasks], dtype=np.int64)
    sets = zip(*(task for _, task in tasks), strict=True)
    return EpisodeArrays(numbers, ways + 1, *(np.stack(arrays) for arrays in sets))


def _drawn(size: int | Range, key: int, number: int, use: int) -> int:
    return size if isinstance(size, int) else size[0] + int(integers(size[1] - size[0] + 1, key, number, use))
