"""Small problems that are solved by one mechanism: remembering, or seeing examples in the light of all others."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.data.family import Classification, Family
from metamtl.data.task import Examples, TaskBatch

SIZE, WAYS = 12, 3


def family() -> Family:
    return Classification("codes", WAYS, classes=40)


class Codes:
    """Classes of plain, random codes [12] that are easily told apart: what is to be learnt is to bind them to labels.

    All classes are new in every task, and tasks are numbered on, so that sequences have ever other orders.
    """

    def __init__(self, seed: int = 0) -> None:
        self.generator, self.drawn = torch.Generator().manual_seed(seed), 0

    def tasks(self, count: int, shots: int = 1, queries: int = 2, train: bool = True) -> TaskBatch:
        """Tasks of classes that nobody has seen."""
        codes = self._normal(count, WAYS, 1, SIZE)
        numbers = torch.arange(self.drawn, self.drawn + count)
        self.drawn += count
        return TaskBatch(self._set(codes, shots), self._set(codes, queries), numbers)

    def _set(self, codes: Tensor, of_each: int) -> Examples:
        labels = torch.arange(WAYS).repeat_interleave(of_each).expand(len(codes), -1)
        x = codes.expand(-1, -1, of_each, -1).flatten(1, 2)
        return Examples(x + 0.1 * self._normal(*x.shape), labels, WAYS)

    def _normal(self, *size: int) -> Tensor:
        return torch.randn(size, generator=self.generator, dtype=torch.float64)


class Hints(Codes):
    """Examples have two codes [5] each, of which one tells the class; which one, one of the support set's hints at.

    A query has the telling code of its class and the other of another class. So whoever sees examples by themselves
    cannot know which of two classes it is.
    """

    def tasks(self, count: int, shots: int = 1, queries: int = 1, train: bool = True) -> TaskBatch:
        """Tasks of one example and one query of each class."""
        telling, other = self._normal(2, count, WAYS, 5)
        labels, first = torch.arange(WAYS).expand(count, -1), self._any(2, count) == 0
        hint = torch.zeros(count, WAYS, 2, dtype=torch.float64)
        hint[torch.arange(count), self._any(WAYS, count)] = 3.0 * F.one_hot(first.long(), 2).double()
        wrong = (labels + 1 + self._any(WAYS - 1, count, WAYS)) % WAYS
        misleading = other.gather(1, wrong.unsqueeze(2).expand(-1, -1, 5))
        support = torch.cat([_ordered(first, telling, other), hint], 2)
        query = torch.cat([_ordered(first, telling, misleading), torch.zeros_like(hint)], 2)
        return TaskBatch(Examples(support, labels, WAYS), Examples(query, labels, WAYS), torch.arange(count))

    def _any(self, below: int, *size: int) -> Tensor:
        return torch.randint(below, size, generator=self.generator)


def _ordered(first: Tensor, telling: Tensor, other: Tensor) -> Tensor:
    """Both codes of examples, the telling one first in those tasks."""
    both, swapped = torch.cat([telling, other], 2), torch.cat([other, telling], 2)
    return torch.where(first.view(-1, 1, 1), both, swapped)


def labels_after_examples(count: int, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Sequences of codes [N, 2 ways, 6], each followed by its label [N, 2 ways, ways]; queries and their labels."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        codes, noise = torch.randn(2, count, WAYS, 6, generator=generator, dtype=torch.float64)
        classes = torch.stack([torch.randperm(WAYS, generator=generator) for _ in range(count)])
        shown, labels = (torch.zeros(count, 2 * WAYS, width, dtype=torch.float64) for width in (6, WAYS))
        shown[:, 0::2], labels[:, 1::2] = codes, F.one_hot(classes, WAYS).double()
        yield shown, labels, codes + 0.1 * noise, classes
