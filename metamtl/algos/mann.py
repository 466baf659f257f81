"""MANN: a controller that binds examples to labels in an external memory, and looks them up there.

Santoro, Bartunov, Botvinick, Wierstra & Lillicrap (2016), Meta-Learning with Memory-Augmented Neural Networks, ICML. An
example comes with the label of the one before it, so that its own must be predicted first. `sequential` is the paper's
protocol: all of a task's examples in one sequence, each predicted as it comes, with the accuracy at the k-th
presentation of a class as `accuracy_k` (it wants a fixed number of shots). `episodic` is that of the other methods: the
support set is read, then each query comes next, by itself.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.algos.labelled_sequence import SequenceLearner, in_order
from metamtl.algos.memory import LeastRecentlyUsed, Memory
from metamtl.data.task import Examples, Minibatch, Task, at_least_single, joined, size
from metamtl.engine.outcome import Outcome
from metamtl.errors import UsageError
from metamtl.registry import register


@register("algo", "mann")
class MANN(SequenceLearner):
    """An LSTM of `controller` units with `heads` heads on a memory of `slots` rows of `width` numbers."""

    def __init__(
        self,
        *,
        protocol: Literal["episodic", "sequential"],
        controller: int,
        slots: int,
        width: int,
        heads: int,
        usage_decay: float,
        **context: Any,
    ) -> None:
        super().__init__(**context)
        self.protocol, ways = protocol, self.family.outputs
        if slots < heads:
            raise UsageError(f"algo.slots={slots}: each of algo.heads={heads} writes a row of its own: raise it.")
        inputs = context["backbone"].features + ways
        self.memory = LeastRecentlyUsed(inputs, controller, slots, width, heads, usage_decay)
        self.head = nn.Linear(self.memory.outputs, ways)

    def read(self, features: Tensor, labels: Tensor) -> tuple[Memory, Tensor]:
        """The memory [1, ...] after the support set, and the last label [1, ways], still to be shown."""
        memory, before = self.memory.blank(features), torch.zeros_like(labels[:1])
        for x, y in zip(torch.split(features, 1), torch.split(labels, 1), strict=True):
            memory, before = self.memory(torch.cat([x, before], 1), memory), y
        return memory, before

    def answer(self, kept: tuple[Memory, Tensor], features: Tensor) -> Tensor:
        """Logits [Q, ways] of each query as the next example."""
        queries = size(features)
        memory = Memory(*(part.expand(queries, *part.shape[1:]) for part in kept[0]))
        return self._outputs(self.memory(torch.cat([features, kept[1].expand(queries, -1)], 1), memory))

    def _outputs(self, memory: Memory) -> Tensor:
        outputs: Tensor = self.head(torch.cat([memory.hidden, memory.found], 1))
        return outputs

    # ---- the protocol of the paper ----

    def forward(self, sample: Task | Minibatch) -> Outcome:
        """In the sequential protocol the figures are over all of a task's presentations."""
        if self.protocol == "episodic" or isinstance(sample, Minibatch):
            return super().forward(sample)
        together = Examples(
            joined(sample.support.x, sample.query.x),
            torch.cat([sample.support.labels, sample.query.labels]),
            sample.query.ways,
        )
        sequence = in_order(together, sample.number)
        outputs = self.presented(sequence)
        loss = self.family.loss(outputs, sequence)
        figures = {"loss": loss, **self.family.metrics(outputs, sequence)}
        return Outcome(loss, {**figures, **by_presentation(outputs, sequence)}, {})

    def presented(self, sequence: Examples) -> Tensor:
        """Logits [T, ways] of each example of a sequence as it comes (figure 1a)."""
        features = self.network.query(sequence.x, head=False)
        with torch.autocast(features.device.type, enabled=False):
            features = at_least_single(features)
            labels = F.one_hot(sequence.labels, self.family.outputs).to(features.dtype)
            shown = torch.cat([features, torch.cat([torch.zeros_like(labels[:1]), labels[:-1]])], 1)
            memory, outputs = self.memory.blank(features), []
            for x in torch.split(shown, 1):
                memory = self.memory(x, memory)
                outputs.append(self._outputs(memory))
            return torch.cat(outputs)


def by_presentation(outputs: Tensor, sequence: Examples) -> dict[str, Tensor]:
    """`accuracy_k` []: of outputs [T, ways], the share of classes that are right when they come for the k-th time."""
    ways, labels = sequence.ways or 1, sequence.labels
    times = F.one_hot(labels, ways).cumsum(0).gather(1, labels.unsqueeze(1)).squeeze(1)
    hits = (outputs[:, :ways].argmax(1) == labels).to(outputs.dtype)
    return {f"accuracy_{k}": (hits * (times == k)).sum() / ways for k in range(1, len(labels) // ways + 1)}
