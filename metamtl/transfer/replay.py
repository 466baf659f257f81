"""Experience replay: what was learnt before is learnt again, from a few examples that were kept.

Rolnick, Ahuja, Schwarz, Lillicrap & Wayne (2019), Experience Replay for Continual Learning, NeurIPS, without
behavioural cloning; Chaudhry et al. (2019), On Tiny Episodic Memories in Continual Learning, for the even memory. All
that is kept takes part in every update.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor

from metamtl.data.family import Family
from metamtl.engine.network import Network
from metamtl.engine.terms import Term, View
from metamtl.registry import register
from metamtl.transfer.base import Origin, Score, Strategy
from metamtl.transfer.carry import carry
from metamtl.transfer.knowledge import Knowledge
from metamtl.transfer.memory import Memory, remembered


class Rehearsal(Term):
    """The family's loss on the kept examples."""

    needs_minibatches = True

    def __init__(self, weight: float, family: Family) -> None:
        super().__init__(weight, "outer")
        self.family = family

    def hold(self, memory: Memory) -> None:
        """Takes the examples."""
        self.add_module("memory", memory)

    def value(self, view: View) -> Tensor:
        """The penalty []."""
        kept = cast(Memory, self.get_submodule("memory")).examples
        return self.family.loss(view.network.support(kept.x, view.weights), kept)


@register("transfer", "replay")
class Replay(Strategy):
    """`examples` are kept of all that the chain of sources was trained on; `weight` counts beside the new loss."""

    def __init__(self, *, weight: float, examples: int) -> None:
        self.weight, self.examples = weight, examples

    def extract(self, origins: Sequence[Origin], score: Score) -> Knowledge:
        """The source's weights, and the memory."""
        return remembered(origins, self.examples)

    def terms(self, network: Network, family: Family) -> list[Term]:
        """One, unless its weight is zero."""
        return [Rehearsal(self.weight, family)] if self.weight else []

    def start(self, network: Network, knowledge: Knowledge) -> None:
        """The source's weights, the head with them."""
        carry(network, knowledge, head=True)

    def remember(self, network: Network, terms: Sequence[Term], knowledge: Knowledge) -> None:
        """The memory."""
        for term in terms:
            assert isinstance(term, Rehearsal)
            term.hold(Memory(knowledge.replay["x"], knowledge.replay["y"], term.family.classes or None))
