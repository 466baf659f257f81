"""A-GEM: an update that would raise the loss of kept examples loses the part that does.

Chaudhry, Ranzato, Rohrbach & Elhoseiny (2019), Efficient Lifelong Learning with A-GEM, ICLR, equation 11: g - (g.r /
r.r) r where g.r < 0, with the gradient r of the loss on the memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from metamtl.data.family import Family
from metamtl.engine.inner import Weights
from metamtl.engine.network import Network
from metamtl.engine.terms import Term
from metamtl.registry import register
from metamtl.transfer.base import Origin, Score, Strategy
from metamtl.transfer.carry import carry
from metamtl.transfer.knowledge import Knowledge
from metamtl.transfer.memory import Memory, remembered


@register("transfer", "agem")
class AGEM(Strategy):
    """`examples` are kept of all that the chain of sources was trained on; all of them make the gradient r."""

    exclusive = "the direction of the update"

    def __init__(self, *, examples: int) -> None:
        self.examples = examples
        self.memory: Memory | None = None

    def extract(self, origins: Sequence[Origin], score: Score) -> Knowledge:
        """The source's weights, and the memory."""
        return remembered(origins, self.examples)

    def start(self, network: Network, knowledge: Knowledge) -> None:
        """The source's weights, the head with them."""
        carry(network, knowledge, head=True)

    def remember(self, network: Network, terms: Sequence[Term], knowledge: Knowledge) -> None:
        """The memory, where the network is."""
        like = next(network.parameters())
        self.memory = Memory(knowledge.replay["x"], knowledge.replay["y"], None).to(like.device, like.dtype)

    def changed(self, gradient: Weights, network: Network, family: Family) -> Weights:
        """The gradient, by the network's names, without what the memory speaks against."""
        assert self.memory is not None
        kept = self.memory.examples
        weights = {name: weight for name, weight in network.named_parameters() if name in gradient}
        loss = family.loss(network.support(kept.x), kept)
        slopes = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        return projected(gradient, dict(zip(weights, slopes, strict=True)))


def projected(gradient: Weights, reference: Weights) -> Weights:
    """Equation 11, over all weights together."""
    along = torch.stack([(gradient[name] * slope).sum() for name, slope in reference.items()]).sum()
    length = torch.stack([slope.square().sum() for slope in reference.values()]).sum()
    share = (along.clamp(max=0) / length.clamp(min=1e-30)).to(length.dtype)
    return {name: slope - share * reference[name] if name in reference else slope for name, slope in gradient.items()}
