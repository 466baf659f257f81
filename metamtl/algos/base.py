"""The learner: from a support set to a predictor, written for one task.

A method defines `adapt` and `predict`; the loss it is meta-trained with defaults to adapting, predicting and the
family's loss on the query set. Whatever it meta-learns are its parameters. The engine runs it over many tasks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from metamtl.backbones.norm import NormKind
from metamtl.data.family import Family
from metamtl.data.source import TaskShape
from metamtl.data.task import Examples, Minibatch, Task, Tensors
from metamtl.engine.inner import Weights
from metamtl.engine.network import Network
from metamtl.engine.outcome import Outcome
from metamtl.engine.terms import View, added


@dataclass(frozen=True)
class Stage:
    """A part of training and the stream it draws on.

    Episodes, minibatches over all meta-train classes, or pairs of examples of one class or of two, whose images may be
    `distorted`. With `together` an episode of one family of several comes beside the support set of one of each other
    family of the update that learns so.
    """

    name: str
    stream: Literal["episodes", "minibatches", "pairs"]
    distorted: bool = False
    together: bool = False


class Learner(nn.Module, ABC):
    """Base of all methods; `backbone` maps x [N, ...] to features [N, backbone.features].

    The trainer keeps `stage`, the name of the stage that is being trained, and `progress`, the share of its updates
    that are done, for methods whose loss changes with them. `terms` are what transfer adds to its losses;
    `inner_terms` says whether an inner loss over the network's weights takes them too, and `conditional` whether what
    modulates the network can be trained by the outer loss, beside the network's own weights. `adapts` says whether a
    support set changes anything: what does not adapt has to be tested on the outputs that it was trained for;
    `learns_ways` whether weights belong to single ways, so that those which no training task has stay as drawn.
    """

    stages: Sequence[Stage] = (Stage("meta", "episodes"),)
    meta_gradient: ClassVar[Literal["autograd", "own"]] = "autograd"
    inner_terms: ClassVar[bool] = False
    conditional: ClassVar[bool] = True
    adapts: ClassVar[bool] = True
    learns_ways: bool = True
    network: Network
    stage: str = ""
    progress: float = 0.0

    @classmethod
    def option(cls) -> str:
        """The name of the method's option, which its file has."""
        return cls.__module__.rpartition(".")[2]

    def __init__(self, *, backbone: nn.Module, family: Family, norm: NormKind) -> None:
        super().__init__()
        self.family = family
        family.read(backbone)
        self.network = self.build_network(backbone, norm)
        self.terms = nn.ModuleDict()

    def check_tasks(self, *shapes: TaskShape) -> None:
        """UsageError for tasks of training or test that the method cannot learn from; it takes all by default."""

    def build_network(self, backbone: nn.Module, norm: NormKind) -> Network:
        """The backbone under the family's head; a learner with a head of its own replaces it."""
        return Network(backbone, self.family.head(backbone.features), norm)  # type: ignore[arg-type]

    @abstractmethod
    def adapt(self, support: Examples) -> Any:
        """A fast state (tensors in tuples, lists, dicts or dataclasses) from one support set."""

    @abstractmethod
    def predict(self, state: Any, x: Tensors) -> Tensor:
        """Outputs [Q, ways] (or [Q, targets]) for queries x [Q, ...]."""

    def outer_loss(self, task: Task) -> tuple[Tensor, Tensor]:
        """The loss [] that meta-training lowers, and the query outputs that metrics are taken from."""
        outputs = self.predict(self.adapt(task.support), task.query.x)
        return self.family.loss(outputs, task.query), outputs

    def own_gradient(self, task: Task) -> tuple[Weights, Tensor, Tensor]:
        """The meta-gradient of one task by the names of the learner's weights, the query loss [] and outputs.

        For learners with `meta_gradient = "own"`, such as an implicit gradient or a displacement: it is called in
        training without an outer graph, and must not need one. Weights that it does not name get zero.
        """
        raise NotImplementedError(f"{type(self).__name__} leaves its meta-gradient to autograd")

    def join(self, others: Mapping[str, Learner]) -> None:
        """Called once, before training, with the other families' learners where a stage is learnt `together`.

        The weights of their networks become weights of this learner too, as its loss may depend on them. Raises
        UsageError where the learners do not go together.
        """
        raise NotImplementedError(f"{type(self).__name__} has no stage that is learnt together")

    def begin_stage(self, stage: str) -> None:
        """Called once before the first update of a stage, with what earlier stages learnt in place."""

    def minibatch_loss(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Loss [] and outputs of a supervised minibatch, for learners with a stage of that stream.

        Pairs come with x named `first` and `second` and labels 1 where they share a class, of two ways.
        """
        raise NotImplementedError(f"{type(self).__name__} has no stage on minibatches")

    def outer_weights(self) -> Mapping[str, Tensor]:
        """The weights that transfer's outer terms read, after the loss: the network's, where a method has no others."""
        return dict(self.network.named_parameters())

    def forward(self, sample: Task | Minibatch) -> Outcome:
        """Loss, figures and own meta-gradient of one task or minibatch."""
        gradient: Weights = {}
        if isinstance(sample, Minibatch):
            examples = sample.examples
            loss, outputs = self.minibatch_loss(examples)
        elif self.training and self.meta_gradient == "own":
            examples = sample.query
            with torch.no_grad():
                gradient, loss, outputs = self.own_gradient(sample)
        else:
            examples = sample.query
            loss, outputs = self.outer_loss(sample)
        return self._outcome(loss, outputs, examples, gradient)

    def _outcome(self, loss: Tensor, outputs: Tensor, examples: Examples, gradient: Weights) -> Outcome:
        """With the family's figures and, in training, what transfer adds to the loss."""
        figures = self.family.metrics(outputs, examples)
        if self.training and self.terms:
            view = View(self.network, self.outer_weights(), examples, outputs, self.progress)
            loss, parts = added(loss, self.terms.items(), "outer", view)
            figures |= parts
        return Outcome(loss, {"loss": loss, **figures}, gradient)
