"""MANN: a controller that binds examples to labels in an external memory, and looks them up there.

Santoro, Bartunov, Botvinick, Wierstra & Lillicrap (2016), Meta-Learning with Memory-Augmented Neural Networks, ICML.
`sequential` is the paper's protocol: examples of a task in one sequence, each with the label of the one before it,
so that its own must be predicted first, and the accuracy at the k-th presentation of a class as `accuracy_k`.
`episodic` is that of the other methods: the support set is read, each example with its own label, as there is nothing
to predict, and then each query comes next, by itself and without one; features are taken by mean and spread in the
support set. Neither is in the paper. Without the first nothing was learnt in 1,600 updates of 4 tasks on Omniglot, and
without the second nothing in 800: features of an untrained network have most in common.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.algos.labelled_sequence import SequenceLearner, order_of
from metamtl.algos.memory import LeastRecentlyUsed, Memory
from metamtl.backbones.noise import mix, uniform
from metamtl.data.source import TaskShape
from metamtl.data.task import Examples, Minibatch, Task, at_least_single, joined, size
from metamtl.engine.outcome import Outcome
from metamtl.errors import UsageError
from metamtl.registry import register

_CLASSES = 0x0DE7  # keys the classes of presentations, apart from what else is hashed from a task's number
_LEAST = 1e-6  # spread, where all examples are alike


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

    def check_tasks(self, *shapes: TaskShape) -> None:
        """The sequential protocol counts a class's presentations, which every task has to have as many of."""
        if self.protocol == "sequential" and any(not isinstance(shape.shots, int) for shape in shapes):
            raise UsageError("algo.protocol=sequential needs tasks of one length: give task.shots one number, as 5.")

    def read(self, features: Tensor, labels: Tensor) -> tuple[Memory, Tensor, Tensor, Tensor]:
        """The memory [1, ...] after the support set, the features' mean and spread [1, D] there, and a query's label.

        A query comes without a label [1, ways], in the sequential protocol with that of the last example.
        """
        mean, var = features.mean(0, keepdim=True), features.var(0, keepdim=True, correction=0)
        spread = (var + var.mean()).sqrt() + _LEAST  # a feature that is none of the support set's stays moderate
        beside = torch.zeros_like(labels[:1])
        if self.protocol == "sequential":
            mean, spread = torch.zeros_like(mean), torch.ones_like(spread)
            labels, beside = torch.cat([beside, labels[:-1]]), labels[-1:]
        memory = self.memory.blank(features)
        for shown in torch.split(torch.cat([(features - mean) / spread, labels], 1), 1):
            memory = self.memory(shown, memory)
        return memory, mean, spread, beside

    def answer(self, kept: tuple[Memory, Tensor, Tensor, Tensor], features: Tensor) -> Tensor:
        """Logits [Q, ways] of each query as the next example."""
        queries, (read, mean, spread, beside) = size(features), kept
        memory = Memory(*(part.expand(queries, *part.shape[1:]) for part in read))
        labels = beside.expand(queries, -1)
        return self._outputs(self.memory(torch.cat([(features - mean) / spread, labels], 1), memory))

    def _outputs(self, memory: Memory) -> Tensor:
        outputs: Tensor = self.head(torch.cat([memory.hidden, memory.found], 1))
        return outputs

    # ---- the protocol of the paper ----

    def forward(self, sample: Task | Minibatch) -> Outcome:
        """In the sequential protocol the figures are over a task's presentations."""
        if self.protocol == "episodic" or isinstance(sample, Minibatch):
            return super().forward(sample)
        together = Examples(
            joined(sample.support.x, sample.query.x),
            torch.cat([sample.support.labels, sample.query.labels]),
            sample.query.ways,
        )
        sequence = presentations(together, sample.number)
        outputs = self.presented(sequence)
        outcome = self._outcome(self.family.loss(outputs, sequence), outputs, sequence, {})
        return outcome._replace(figures={**outcome.figures, **by_presentation(outputs, sequence)})

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


def presentations(examples: Examples, number: Tensor) -> Examples:
    """Half as many examples, each of a class drawn by itself, as the number [] of a task says.

    What has come says nothing of what comes then: where all examples come and every class equally often, the last ones
    are told by counting. A class whose examples have all come gives them again; every class has one at least.
    """
    ways, count = examples.ways or 1, size(examples.x)
    order = order_of(count, number)
    by_class = order[examples.labels[order].argsort(stable=True)]
    counts = F.one_hot(examples.labels, ways).sum(0)
    classes = (uniform(mix(number, _CLASSES), torch.Size((count // 2,)), torch.float64) * ways).long()
    places = by_class[(counts.cumsum(0) - counts)[classes] + (occurrence(classes, ways) - 1) % counts[classes]]
    return examples.map(lambda values: values[places])


def by_presentation(outputs: Tensor, sequence: Examples) -> dict[str, Tensor]:
    """`accuracy_k` []: the share of outputs [T, ways] that are right where a class comes for the k-th time.

    For k up to T / ways, rounded up, as some class comes so often whatever was drawn.
    """
    ways, labels = sequence.ways or 1, sequence.labels
    hits, which = outputs[:, :ways].argmax(1) == labels, occurrence(labels, ways)
    most = -(-len(labels) // ways)
    return {
        f"accuracy_{k}": ((which == k) * hits).sum().to(outputs.dtype) / (which == k).sum() for k in range(1, most + 1)
    }


def occurrence(labels: Tensor, ways: int) -> Tensor:
    """Which occurrence of its class each of the labels [T] is, from 1."""
    return F.one_hot(labels, ways).cumsum(0).gather(1, labels.unsqueeze(1)).squeeze(1)
