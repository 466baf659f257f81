"""A problem to label words on, for learners over the features of words."""

from __future__ import annotations

import torch
from torch import Tensor

from metamtl.data.tagging import EntityTasks
from metamtl.data.task import Examples, Minibatch, TaskBatch

SHAPE = (7, 10)  # words of a sentence, and marks of a word


class Sentences:
    """Words whose type two of their marks tell together; their other marks, and all those of no entity, say nothing.

    Pairs of marks that training has not met are told apart by who has learnt which marks matter. Each sentence has a
    word of the type that it was drawn for and one of any of the task's, then words of no entity, then padding.
    """

    ways, each = 3, 6  # types of a task, and values of either mark

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        pairs = torch.cartesian_prod(torch.arange(self.each), torch.arange(self.each))
        self.pairs = pairs[torch.randperm(len(pairs), generator=self.generator)]
        self.types = len(pairs) - 6  # of training

    @property
    def family(self) -> EntityTasks:
        return EntityTasks("words", self.ways, classes=self.types + 1)

    def tasks(self, count: int, shots: int = 5, queries: int = 5, train: bool = True) -> TaskBatch:
        """Tasks of meta-train types, or of new ones."""
        among = torch.arange(self.types) if train else torch.arange(self.types, len(self.pairs))
        chosen = [among[torch.randperm(len(among), generator=self.generator)[: self.ways]] for _ in range(count)]
        sets = [self._set([self._of_task(types, of_each) for types in chosen]) for of_each in (shots, queries)]
        return TaskBatch(sets[0], sets[1], torch.arange(count))

    def minibatch(self, size: int = 64) -> Minibatch:
        """Sentences with words of the meta-train types."""
        return Minibatch(Examples(*self._drawn(self._any(torch.arange(self.types), size)), self.types + 1))

    def _of_task(self, types: Tensor, of_each: int) -> tuple[Tensor, Tensor]:
        x, y = self._drawn(types.repeat_interleave(of_each))
        label = torch.zeros(len(self.pairs) + 1, dtype=torch.int64)
        label[types + 1] = torch.arange(1, self.ways + 1)
        return x, torch.where(y < 0, y, label[y])

    def _drawn(self, types: Tensor) -> tuple[Tensor, Tensor]:
        """A sentence [7, 10] for each of `types` [N], and the labels of its words: 1 more than their type."""
        length, pieces = SHAPE
        labels = torch.zeros(len(types), length, dtype=torch.int64)
        labels[:, 0], labels[:, 2] = types + 1, self._any(types, len(types)) + 1
        x = torch.randint(1 + 2 * self.each, 60, (len(types), length, pieces), generator=self.generator)
        marks = self.pairs[labels - 1] + torch.tensor([1, 1 + self.each])
        x[..., :2] = torch.where((labels > 0).unsqueeze(2), marks, x[..., :2])
        beyond = torch.arange(length) >= torch.randint(4, length + 1, (len(types), 1), generator=self.generator)
        return x.masked_fill(beyond.unsqueeze(2), 0), labels.masked_fill(beyond, -1)

    def _any(self, types: Tensor, count: int) -> Tensor:
        return types[torch.randint(len(types), (count,), generator=self.generator)]

    def _set(self, sets: list[tuple[Tensor, Tensor]]) -> Examples:
        x, y = (torch.stack(parts) for parts in zip(*sets, strict=True))
        return Examples(x, y, self.ways + 1)
