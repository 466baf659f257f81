"""L2-SP: weight decay towards the source's weights instead of towards zero.

Li, Grandvalet & Davoine (2018), Explicit Inductive Bias for Transfer Learning with Convolutional Networks, ICML,
equation 2: alpha/2 ||w_b - w_b*||^2 + beta/2 ||w_h||^2, with the backbone w_b and the new head w_h.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metamtl.data.family import Family
from metamtl.engine.network import Network
from metamtl.engine.terms import Place, Term, View
from metamtl.registry import register
from metamtl.transfer.base import Strategy
from metamtl.transfer.carry import carry, fitting
from metamtl.transfer.knowledge import Knowledge
from metamtl.transfer.references import References


class StartingPoint(Term):
    """The squared distance of the backbone from its start, and `head_ratio` (beta / alpha) of the head from zero."""

    def __init__(self, network: Network, weight: float, head_ratio: float, at: Place) -> None:
        super().__init__(weight, at)
        backbone = {name: w for name, w in network.named_parameters() if name.startswith("backbone.")}
        self.start = References(backbone, kept=at != "outer")
        self.head_ratio = head_ratio

    def value(self, view: View) -> Tensor:
        """The penalty [] of equation 2 over alpha."""
        parts = [(view.weights[name] - start).square().sum() for name, start in self.start.values().items()]
        heads = [w.square().sum() for name, w in view.weights.items() if name.startswith("head.")]
        return 0.5 * torch.stack([*parts, *(self.head_ratio * part for part in heads)]).sum()


@register("transfer", "l2sp")
class L2SP(Strategy):
    """`weight` is alpha; the penalty stands in the outer loss, in the inner losses, or both (`at`)."""

    def __init__(self, *, weight: float, head_ratio: float, at: Place) -> None:
        self.weight, self.head_ratio, self.at = weight, head_ratio, at

    def terms(self, network: Network, family: Family) -> list[Term]:
        """One, unless its weight is zero."""
        return [StartingPoint(network, self.weight, self.head_ratio, self.at)] if self.weight else []

    def start(self, network: Network, knowledge: Knowledge) -> None:
        """The source's backbone."""
        carry(network, knowledge)

    def remember(self, network: Network, terms: Sequence[Term], knowledge: Knowledge) -> None:
        """The source's backbone is the starting point."""
        for term in terms:
            assert isinstance(term, StartingPoint)
            start = term.start.values()
            term.start.put({n: fitting(n, t, knowledge.parameters, knowledge.provenance) for n, t in start.items()})
