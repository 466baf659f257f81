"""Hard sharing: one backbone for all families, a head for each.

Caruana (1997), Multitask Learning, Machine Learning 28.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.sharing.base import MakeBackbone, Shape, Sharing, one_shape, twin


@register("sharing", "hard")
class Hard(Sharing):
    """Every weight of the backbone is shared."""

    def backbones(self, shapes: Mapping[str, Shape], make: MakeBackbone) -> dict[str, nn.Module]:
        """Twins of one backbone; UsageError where inputs differ in shape."""
        if others := one_shape(shapes):
            name, first = others[0], next(iter(shapes))
            raise UsageError(
                f"sharing=hard needs inputs of one shape: those of {first} are {list(shapes[first])}, those of {name} "
                f"{list(shapes[name])}; bring them to one size (data.size), or leave one family out."
            )
        trunk = make(next(iter(shapes.values())))
        return {name: twin(trunk) for name in shapes}
