"""Hard sharing: one backbone for all families, a head for each.

Caruana (1997), Multitask Learning, Machine Learning 28.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from metamtl.registry import register
from metamtl.sharing.base import MakeBackbone, Shape, Sharing, only_shape, twin


@register("sharing", "hard")
class Hard(Sharing):
    """Every weight of the backbone is shared."""

    def backbones(self, shapes: Mapping[str, Shape], make: MakeBackbone) -> dict[str, nn.Module]:
        """Twins of one backbone; UsageError where inputs differ in shape."""
        shared = make(only_shape(shapes, "hard"))
        return {name: twin(shared) for name in shapes}
