"""Stem: each family has the first blocks of the backbone for itself, and all share the rest.

Inputs may then differ in shape, as Yosinski et al. (2014), How transferable are features in deep neural networks?,
NeurIPS, suggest the other way round: first layers depend on the input, later ones on what is asked.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.sharing.base import MakeBackbone, Shape, Sharing, blocks_of, twin


@register("sharing", "stem")
class Stem(Sharing):
    """The first `blocks` are a family's own."""

    def __init__(self, *, blocks: int) -> None:
        self.blocks = blocks

    def backbones(self, shapes: Mapping[str, Shape], make: MakeBackbone) -> dict[str, nn.Module]:
        """A backbone for each family, whose later blocks are those of the first; UsageError where they do not fit."""
        found = {name: make(name) for name in shapes}
        first, *others = found
        for name in others:
            shared, own = blocks_of(found[first], "stem"), blocks_of(found[name], "stem")
            if len(shared) <= self.blocks:
                raise UsageError(
                    f"sharing.blocks={self.blocks}: the backbone has {len(shared)} blocks, so none is shared."
                )
            for number in range(self.blocks, len(shared)):
                if _sizes(own[number]) != _sizes(shared[number]):
                    raise UsageError(
                        f"sharing=stem: block {number + 1} of {name} has other sizes than that of {first}, so that "
                        f"they cannot share it: raise sharing.blocks above {number}, or take sharing=trunk."
                    )
                own[number] = twin(shared[number])
        return found


def _sizes(block: nn.Module) -> dict[str, Shape]:
    return {name: tuple(weight.shape) for name, weight in block.named_parameters()}
