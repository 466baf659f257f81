"""Source examples whose features are to be distributed as the target's.

They stand beside the learner where there is a source run; otherwise a minibatch holds both, and examples without a
label are the target's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from metamtl.data.family import Family
from metamtl.data.labelled import LabelledClasses
from metamtl.engine.network import Network
from metamtl.engine.terms import Place, Term, View
from metamtl.errors import UsageError
from metamtl.transfer.base import Origin, Score, Strategy
from metamtl.transfer.carry import carry
from metamtl.transfer.knowledge import Knowledge
from metamtl.transfer.teacher import features_of, whole


class Distance(Term):
    """A distance between the features of source examples and those of the target's."""

    def __init__(self, weight: float, at: Place = "outer") -> None:
        super().__init__(weight, at)
        self.register_buffer("source", None, persistent=False)

    def hold(self, x: Tensor) -> None:
        """Takes the source's examples."""
        self.register_buffer("source", x, persistent=False)

    def compared(self, network: Network, x: Tensor) -> None:
        """UsageError where the source's examples have features of another length, as pictures of another size have."""
        if self.source is None:
            return
        given = self.get_buffer("source")[: len(x)]
        lengths = [network.backbone(examples).flatten(1).shape[1] for examples in (given, x)]
        if lengths[0] != lengths[1]:
            raise UsageError(
                f"transfer: {lengths[0]} features of the source's examples, of shape {list(given.shape[1:])}, have no "
                f"distance to {lengths[1]} of the target's, of shape {list(x.shape[1:])}: give both data of one size, "
                "or average the last map (backbone.readout=mean)."
            )

    def value(self, view: View) -> Tensor:
        """The penalty []."""
        return self.between(*self.domains(view))

    def domains(self, view: View) -> tuple[Tensor, Tensor]:
        """The features [N, D] and [M, D] of source and target; UsageError where a minibatch has but one of them."""
        features = whole(features_of(view))
        if self.source is not None:
            return view.network.support(self.get_buffer("source"), view.weights, head=False), features
        known = view.examples.labels >= 0
        if known.all() or not known.any():
            raise UsageError(
                "transfer: without a source, examples with a label are aligned with those without; a minibatch has "
                "only one kind: take data=digit_shift or other data with missing labels, or name a transfer.source."
            )
        return features[known], features[~known]

    @abstractmethod
    def between(self, source: Tensor, target: Tensor) -> Tensor:
        """The distance [] of features [N, D] and [M, D]."""


class Alignment(Strategy):
    """Base of all: with a source the target begins with its backbone, and `examples` of it stay beside the learner."""

    sources = "optional"

    def __init__(self, *, weight: float, examples: int) -> None:
        self.weight, self.examples = weight, examples
        self.labels_missing = False

    def extract(self, origins: Sequence[Origin], score: Score) -> Knowledge:
        """The source's weights and some of its training examples."""
        (origin,) = origins
        drawn = origin.trained().draw(self.examples)
        if not isinstance(drawn.x, Tensor):
            raise UsageError("transfer: the source's examples have several parts, which have no one distance.")
        return Knowledge(parameters=origin.parameters, replay={"beside": drawn.x})

    @abstractmethod
    def penalties(self, network: Network, family: Family) -> list[Term]:
        """The distance, and what goes with it."""

    def terms(self, network: Network, family: Family) -> list[Term]:
        """None where their weight is zero."""
        self.labels_missing = isinstance(family, LabelledClasses)
        return self.penalties(network, family) if self.weight else []

    def start(self, network: Network, knowledge: Knowledge) -> None:
        """The source's backbone."""
        carry(network, knowledge)

    def remember(self, network: Network, terms: Sequence[Term], knowledge: Knowledge) -> None:
        """The source's examples; UsageError where neither a source nor the data tells the domains apart."""
        if "beside" not in knowledge.replay and not self.labels_missing:
            raise UsageError(
                "transfer: tasks have no examples of a source: name a run as transfer.source, or take data with "
                "missing labels, such as data=digit_shift."
            )
        for term in terms:
            if isinstance(term, Distance) and "beside" in knowledge.replay:
                term.hold(knowledge.replay["beside"])
