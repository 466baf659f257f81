"""Sharing: a backbone for each family, with weights in common as far as the pattern says.

Families share a weight where their backbones hold the very same parameter. Buffers are each family's own, so that
running averages of one kind of input never normalise another.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from torch import nn

Shape = tuple[int, ...]
MakeBackbone = Callable[[Shape], nn.Module]


class Sharing(ABC):
    """Base of all patterns."""

    @abstractmethod
    def backbones(self, shapes: Mapping[str, Shape], make: MakeBackbone) -> dict[str, nn.Module]:
        """A backbone for each family whose inputs have `shapes`; `make` builds a new one.

        Raises UsageError where the families cannot share in this way.
        """


def twin(module: nn.Module) -> nn.Module:
    """A copy of `module` with its very parameters and buffers of its own."""
    return copy.deepcopy(module, memo={id(weight): weight for weight in module.parameters()})


def one_shape(shapes: Mapping[str, Shape]) -> Sequence[str]:
    """The families whose inputs differ in shape from the first one's."""
    first = next(iter(shapes.values()))
    return [name for name, shape in shapes.items() if shape != first]
