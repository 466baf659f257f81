"""Fusion: relations between examples are to be as several sources see them on average.

You, Xu, Xu & Tao (2017), Learning from Multiple Teacher Networks, KDD, section 3.2, holds the relative dissimilarity of
examples to that of all teachers; here, as in `rkd`, distances divided by their mean, averaged over the teachers.
Sources may be of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.data.family import Family
from metamtl.data.task import Tensors
from metamtl.engine.network import Network
from metamtl.engine.terms import Term, View
from metamtl.registry import register
from metamtl.transfer.base import Origin, Score, Strategy
from metamtl.transfer.knowledge import Knowledge
from metamtl.transfer.rkd import distances
from metamtl.transfer.teacher import Teacher, features_of, network_of, record_of, whole


class MeanRelations(Term):
    """The Huber loss from the mean of the teachers' distances."""

    def __init__(self, weight: float) -> None:
        super().__init__(weight, "outer")

    def hold(self, networks: Sequence[Network]) -> None:
        """Takes the teachers."""
        self.add_module("held", nn.ModuleList([Teacher(network) for network in networks]))

    def compared(self, network: Network, x: Tensor) -> None:
        """Every teacher reads x."""
        self._taught(x)

    def value(self, view: View) -> Tensor:
        """The penalty []."""
        theirs = self._taught(view.examples.x)
        return F.smooth_l1_loss(distances(whole(features_of(view))), theirs.detach())

    def _taught(self, x: Tensors) -> Tensor:
        """The mean of the distances [N, N] that the teachers see."""
        teachers = [cast(Teacher, one).network for one in cast(nn.ModuleList, self.get_submodule("held"))]
        return torch.stack([distances(one.query(x, head=False)) for one in teachers]).mean(0)


@register("transfer", "fusion")
class Fusion(Strategy):
    """The learner begins where it would without sources."""

    sources = "several"

    def __init__(self, *, weight: float) -> None:
        self.weight = weight

    def extract(self, origins: Sequence[Origin], score: Score) -> Knowledge:
        """Every source's weights, under its number, and what rebuilds its network."""
        return Knowledge(
            parameters={f"{number}/{n}": t for number, one in enumerate(origins) for n, t in one.parameters.items()},
            teacher={"fusion": [record_of(origin) for origin in origins]},
        )

    def terms(self, network: Network, family: Family) -> list[Term]:
        """One, unless its weight is zero."""
        return [MeanRelations(self.weight)] if self.weight else []

    def remember(self, network: Network, terms: Sequence[Term], knowledge: Knowledge) -> None:
        """Gives the term its teachers."""
        for term in terms:
            assert isinstance(term, MeanRelations)
            term.hold(
                [
                    network_of(record, _numbered(knowledge, number))
                    for number, record in enumerate(knowledge.teacher["fusion"])
                ]
            )


def _numbered(knowledge: Knowledge, number: int) -> dict[str, Tensor]:
    prefix = f"{number}/"
    return {n.removeprefix(prefix): t for n, t in knowledge.parameters.items() if n.startswith(prefix)}
