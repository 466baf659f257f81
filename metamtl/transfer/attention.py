"""Attention transfer: where the teacher's maps are active, the learner's shall be.

Zagoruyko & Komodakis (2017), Paying More Attention to Attention, ICLR, equation 2: sum_k ||Q_S/|Q_S| - Q_T/|Q_T|||^2
with Q the mean over channels of the squared map after each block; here the mean over examples and positions, as
the authors' code has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.engine.network import Network
from metamtl.engine.terms import View
from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.transfer.teacher import Taught, TaughtTerm, features_of


class Maps(TaughtTerm):
    """The distance of normalised attention maps, summed over blocks."""

    def value(self, view: View) -> Tensor:
        """The penalty []."""
        own = attention(view.network, lambda: features_of(view))
        with torch.no_grad():
            theirs = attention(self.teacher, lambda: self.taught(view.examples.x))
        return torch.stack([(a - b).square().mean() for a, b in zip(own, theirs, strict=True)]).sum()


def attention(network: Network, go: Callable[[], Tensor]) -> list[Tensor]:
    """Each block's normalised map [N, H W], of the pass that `go` makes."""
    with _watched(network) as maps:
        go()
    return [F.normalize(one.square().mean(1).flatten(1), dim=1, eps=1e-6) for one in maps]


@contextmanager
def _watched(network: Network) -> Iterator[list[Tensor]]:
    maps: list[Tensor] = []
    blocks = network.backbone.blocks
    assert isinstance(blocks, nn.Sequential)
    handles = [block.register_forward_hook(lambda _module, _inputs, output: maps.append(output)) for block in blocks]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


@register("transfer", "attention")
class Attention(Taught):
    """Maps after every block of a convolutional backbone."""

    def term(self) -> Maps:
        """The distance."""
        return Maps(self.weight)

    def refuse_unlike(self, network: Network, teacher: Network) -> None:
        """Both must have as many blocks, with maps of one size."""
        counts = [len(getattr(one.backbone, "blocks", ())) for one in (network, teacher)]
        sizes = [getattr(one.backbone, "map_shape", (0,))[1:] for one in (network, teacher)]
        if counts[0] != counts[1] or counts[0] == 0 or sizes[0] != sizes[1]:
            raise UsageError(
                f"transfer=attention compares maps after each block: the source has {counts[1]} blocks and the target "
                f"{counts[0]}, with last maps of {sizes[1]} and {sizes[0]}: take backbones with equal blocks and maps."
            )
