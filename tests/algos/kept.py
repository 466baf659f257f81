"""How much autograd keeps at a time while a learner runs, whether a graph leads there from the loss or not."""

from __future__ import annotations

import weakref
from collections import Counter

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from metamtl.algos.base import Learner
from metamtl.data.task import TaskBatch
from metamtl.engine.chunks import run_chunk


class _Held:
    """A saved tensor, for as long as a graph holds it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()  # an output that a node saves would hold the node, and so itself


class _Account:
    """The bytes that are held now, each memory once, and the most that were."""

    def __init__(self) -> None:
        self.holders: Counter[int] = Counter()
        self.now = self.most = 0

    def hold(self, tensor: Tensor) -> _Held:
        held, memory = _Held(tensor), tensor.untyped_storage()
        place, size = memory.data_ptr(), memory.nbytes()
        self.now += size if self.holders[place] == 0 else 0
        self.most = max(self.most, self.now)
        self.holders[place] += 1
        weakref.finalize(held, self._let_go, place, size)
        return held

    def _let_go(self, place: int, size: int) -> None:
        self.holders[place] -= 1
        self.now -= size if self.holders[place] == 0 else 0


def most_kept(learner: Learner, batch: TaskBatch) -> int:
    """The most bytes of saved tensors at any time, from the start of a chunk's run to its outer loss."""
    account = _Account()
    with saved_tensors_hooks(account.hold, lambda held: held.tensor):
        outcome, _ = run_chunk(learner, learner.network, batch, None, None)
    assert outcome.loss.isfinite().all()
    return account.most
