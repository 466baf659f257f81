"""Federated averaging: the target begins with the mean of several runs' weights.

McMahan, Moore, Ramage, Hampson & Aguera y Arcas (2017), Communication-Efficient Learning of Deep Networks from
Decentralized Data, AISTATS, algorithm 1, with one round and clients of equal size. Running averages are averaged too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metamtl.engine.network import Network
from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.transfer.base import Origin, Score, Strategy
from metamtl.transfer.carry import carry
from metamtl.transfer.knowledge import Knowledge


@register("transfer", "fedavg")
class FedAvg(Strategy):
    """`head` carries the mean of the heads too."""

    exclusive = "the average of the sources"
    sources = "several"

    def __init__(self, *, head: bool) -> None:
        self.head = head

    def extract(self, origins: Sequence[Origin], score: Score) -> Knowledge:
        """The mean of all sources."""
        return Knowledge(parameters=mean_of(origins, self.head))

    def start(self, network: Network, knowledge: Knowledge) -> None:
        """The mean's backbone."""
        carry(network, knowledge, self.head)


def mean_of(origins: Sequence[Origin], head: bool) -> dict[str, Tensor]:
    """The mean of the sources' tensors by name, of the backbones alone without `head`.

    UsageError where they are of other shapes.
    """
    every = [
        {name: tensor for name, tensor in origin.parameters.items() if head or not name.startswith("head.")}
        for origin in origins
    ]
    shapes = [{name: tensor.shape for name, tensor in parameters.items()} for parameters in every]
    for origin, found in zip(origins, shapes, strict=True):
        if found != shapes[0]:
            raise UsageError(
                f"transfer.source: {origin.provenance['run']} has other weights than {origins[0].provenance['run']}: "
                "runs of one backbone and method can be averaged."
            )
    return {
        name: torch.stack([parameters[name].double() for parameters in every]).mean(0).to(tensor.dtype)
        for name, tensor in every[0].items()
    }
