"""A family of tasks as a network sees it: the head, the loss and the metrics of one kind of task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.data.task import Examples, at_least_single


@dataclass(frozen=True)
class Ratio:
    """A figure of a whole split: the sum of some counts over all its examples, by the sum of others.

    Counts are named, each with its factor: F1 is twice the entities that are right by those found and those there.
    What is nothing by nothing does not count, unless one of the counts `else_nought` is there: it is nought then.
    """

    over: Mapping[str, float]
    under: Mapping[str, float]
    else_nought: Sequence[str] = ()


class Family(ABC):
    """What the tasks of one source ask of a network.

    `outputs` is the size of an output: the largest number of ways, or the size of a regression target. `classes` is
    the number of meta-train classes for supervised stages; 0 for regression.
    """

    metric: str  # the figure that selects and is reported first
    higher_is_better: bool
    # figures of a split of labelled examples that are no means over them: each the mean of some ratios
    ratios: Mapping[str, Sequence[Ratio]] = MappingProxyType({})

    def __init__(self, name: str, outputs: int, classes: int = 0) -> None:
        self.name, self.outputs, self.classes = name, outputs, classes

    @property
    def targets(self) -> int:
        """The length of labels that are numbers to predict; 0 for others."""
        return 0

    @property
    def ways(self) -> int:
        """The most ways of a task that outputs have room for."""
        return self.outputs

    def head(self, features: int) -> nn.Module:
        """The layer from features [N, features] to outputs [N, outputs]."""
        return nn.Linear(features, self.outputs)

    def read(self, backbone: nn.Module) -> None:  # noqa: B027 (most read what a backbone gives)
        """Tells a backbone which of its features are wanted, where these are not those of a whole example."""

    def said(self, outputs: Tensor) -> Tensor:
        """What outputs [..., outputs] say to another network: here as they are, of classes their probabilities."""
        return outputs

    @abstractmethod
    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        """Mean loss [] of outputs [N, outputs]."""

    @abstractmethod
    def metrics(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """Figures [] of one task's outputs [N, outputs]."""

    def counts(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """The counts [] of these examples that `ratios` are made of."""
        return {}


def mean_of_known(values: Tensor, known: Tensor) -> Tensor:
    """The mean [] of `values` where `known`, zero where nothing is."""
    return values.masked_fill(~known, 0.0).sum() / known.sum().clamp(min=1)


class Classification(Family):
    """Cross-entropy and accuracy over the task's own ways; of labelled examples macro precision and recall too.

    These two are means over the classes that an example of the split has or is taken for. The precision of a class that
    none is taken for is nought, and so is the recall of one that none has, as scikit-learn has it.
    """

    metric = "accuracy"
    higher_is_better = True

    def __init__(self, name: str, outputs: int, classes: int = 0) -> None:
        super().__init__(name, outputs, classes)
        self.ratios: Mapping[str, Sequence[Ratio]] = {
            "precision": [Ratio({f"right/{c}": 1}, {f"found/{c}": 1}, (f"there/{c}",)) for c in range(outputs)],
            "recall": [Ratio({f"right/{c}": 1}, {f"there/{c}": 1}, (f"found/{c}",)) for c in range(outputs)],
        }

    def said(self, outputs: Tensor) -> Tensor:
        """The probabilities of the classes, which add up to one."""
        return at_least_single(outputs).softmax(-1).to(outputs)

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        """Mean cross-entropy; outputs beyond the task's ways do not take part."""
        return F.cross_entropy(at_least_single(self.answers(outputs, examples)), examples.labels)

    def metrics(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """`accuracy`, the share of examples whose highest output is their class."""
        hits = self.answers(outputs, examples).argmax(1) == examples.labels
        # never in bfloat16, which has no number for most shares
        return {"accuracy": hits.to(at_least_single(outputs).dtype).mean()}

    def counts(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """Of each class the examples that have it (`there`), are taken for it (`found`) and both (`right`).

        Examples whose class is missing (-1) are not counted.
        """
        labels, number = examples.labels, at_least_single(outputs).dtype
        classes = torch.arange(self.outputs, device=labels.device)
        there = labels.unsqueeze(1) == classes
        found = (self.answers(outputs, examples).argmax(1).unsqueeze(1) == classes) & (labels >= 0).unsqueeze(1)
        counted = {"right": there & found, "found": found, "there": there}
        return {
            f"{kind}/{c}": one
            for kind, these in counted.items()
            for c, one in enumerate(these.sum(0).to(number).unbind())
        }

    def answers(self, outputs: Tensor, examples: Examples) -> Tensor:
        """The outputs [N, classes] that take part, the highest of which is the answer: those of the task's ways."""
        return outputs[:, : examples.ways]


class Regression(Family):
    """Mean squared error."""

    metric = "mse"
    higher_is_better = False

    @property
    def targets(self) -> int:
        """All outputs."""
        return self.outputs

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        """Mean squared error over examples and targets."""
        return F.mse_loss(at_least_single(outputs), examples.labels)

    def metrics(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """`mse`, as the loss."""
        return {"mse": self.loss(outputs, examples)}
