"""Groups: families of one group share a backbone, and groups have nothing in common.

Standley et al. (2020), Which Tasks Should Be Learned Together in Multi-task Learning?, ICML. With `relatedness.every` a
run's result suggests groups by affinity, as Fifty et al. (2021) do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.sharing.base import MakeBackbone, Shape, Sharing, only_shape, twin


@register("sharing", "grouped")
class Grouped(Sharing):
    """`groups` are lists of families; those that are in none form one more."""

    def __init__(self, *, groups: Sequence[Sequence[str]]) -> None:
        self.groups = [list(group) for group in groups]

    def backbones(self, shapes: Mapping[str, Shape], make: MakeBackbone) -> dict[str, nn.Module]:
        """Twins of one backbone for each group; UsageError where a group names what is no family, or one twice."""
        named = [name for group in self.groups for name in group]
        if wrong := [name for name in named if name not in shapes or named.count(name) > 1]:
            raise UsageError(
                f"sharing.groups: {wrong[0]} must be a family, in one group; there are {', '.join(shapes)}."
            )
        rest = [name for name in shapes if name not in named]
        found: dict[str, nn.Module] = {}
        for group in filter(None, [*self.groups, rest]):
            shared = make(only_shape({name: shapes[name] for name in group}, "grouped"))
            found |= {name: twin(shared) for name in group}
        return found
