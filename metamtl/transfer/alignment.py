"""Source examples beside the learner, whose features are to be distributed as the target's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from metamtl.data.family import Family
from metamtl.engine.network import Network
from metamtl.engine.terms import Term, View
from metamtl.errors import UsageError
from metamtl.transfer.base import Origin, Score, Strategy
from metamtl.transfer.carry import carry
from metamtl.transfer.knowledge import Knowledge
from metamtl.transfer.teacher import features_of


class Distance(Term):
    """The distance between the features of fixed source examples and those of the target's."""

    def __init__(self, weight: float) -> None:
        super().__init__(weight, "outer")

    def hold(self, x: Tensor) -> None:
        """Takes the source's examples."""
        self.register_buffer("source", x, persistent=False)

    def value(self, view: View) -> Tensor:
        """The penalty []."""
        source = view.network.support(self.get_buffer("source"), view.weights, head=False)
        return self.between(source, features_of(view))

    @abstractmethod
    def between(self, source: Tensor, target: Tensor) -> Tensor:
        """The distance [] of features [N, D] and [M, D]."""


class Alignment(Strategy):
    """Base of both: the target begins with the source's backbone, and `examples` of the source stay beside it."""

    def __init__(self, *, weight: float, examples: int) -> None:
        self.weight, self.examples = weight, examples

    def extract(self, origins: Sequence[Origin], score: Score) -> Knowledge:
        """The source's weights and some of its training examples."""
        (origin,) = origins
        drawn = origin.trained().draw(self.examples)
        if not isinstance(drawn.x, Tensor):
            raise UsageError("transfer: the source's examples have several parts, which have no one distance.")
        return Knowledge(parameters=origin.parameters, replay={"x": drawn.x, "y": drawn.labels})

    @abstractmethod
    def term(self) -> Distance:
        """The penalty."""

    def terms(self, network: Network, family: Family) -> list[Term]:
        """One, unless its weight is zero."""
        return [self.term()] if self.weight else []

    def start(self, network: Network, knowledge: Knowledge) -> None:
        """The source's backbone."""
        carry(network, knowledge)

    def remember(self, network: Network, terms: Sequence[Term], knowledge: Knowledge) -> None:
        """The source's examples."""
        for term in terms:
            assert isinstance(term, Distance)
            term.hold(knowledge.replay["x"])
