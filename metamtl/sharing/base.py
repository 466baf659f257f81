"""Sharing: a backbone for each family, with weights in common as far as the pattern says.

Families share a weight where their backbones hold the very same parameter. Buffers are each family's own, so that
running averages of one kind of input never normalise another.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from metamtl.algos.base import Learner
from metamtl.errors import UsageError

Shape = tuple[int, ...]
MakeBackbone = Callable[[str], nn.Module]


class Sharing(ABC):
    """Base of all patterns.

    `own_kinds` says that families may have backbones of different kinds, `above` that what is shared lies on top of
    them, so that a family alone is compared under such layers too.
    """

    own_kinds: ClassVar[bool] = False
    above: ClassVar[bool] = False

    @abstractmethod
    def backbones(self, shapes: Mapping[str, Shape], make: MakeBackbone) -> dict[str, nn.Module]:
        """A backbone for each family whose inputs have `shapes`; `make` builds a new one for a family's name.

        Raises UsageError where the families cannot share in this way.
        """

    def joined(self, name: str, backbone: nn.Module, earlier: Mapping[str, Learner]) -> nn.Module:
        """The backbone of a family when its learner is built; `earlier` are the learners of the families before it."""
        return backbone


class Around(nn.Module):
    """Base of a backbone made of others, `inner`, which may be asked for the features of words or for a map."""

    inner: nn.ModuleList
    has_maps: ClassVar[bool] = True

    def __init__(self, inner: Sequence[nn.Module]) -> None:
        super().__init__()
        self.inner = nn.ModuleList(inner)

    def begin(self) -> None:
        """Makes the layers that depend on the length of the inner features, anew where that has changed."""

    @property
    def features(self) -> int:
        """Length of the features, here that of the first inner backbone's."""
        return int(self.inner[0].features)  # type: ignore[arg-type]

    @property
    def of_words(self) -> Any:
        """Whether the features are those of words."""
        return self.inner[0].of_words

    @of_words.setter
    def of_words(self, wanted: bool) -> None:
        for backbone in self.inner:
            backbone.of_words = wanted  # type: ignore[assignment]
        self.begin()

    @property
    def of_maps(self) -> Any:
        """Whether the last map is asked for."""
        if not self.has_maps:
            raise AttributeError("of_maps")
        return self.inner[0].of_maps

    @of_maps.setter
    def of_maps(self, wanted: bool) -> None:
        for backbone in self.inner:
            backbone.of_maps = wanted  # type: ignore[assignment]
        self.begin()


def twin(module: nn.Module) -> nn.Module:
    """A copy of `module` with its very parameters and buffers of its own."""
    return copy.deepcopy(module, memo={id(weight): weight for weight in module.parameters()})


def blocks_of(backbone: nn.Module, pattern: str) -> nn.Sequential | nn.ModuleList:
    """The blocks that a backbone runs one after another; UsageError where it says none."""
    found = getattr(backbone, "blocks", None) or getattr(backbone, "layers", None)
    if not isinstance(found, nn.Sequential | nn.ModuleList):
        raise UsageError(f"sharing={pattern} works between a backbone's blocks, of which this one says none.")
    return found


def only_shape(shapes: Mapping[str, Shape], pattern: str) -> str:
    """The first family's name, whose input shape all have; UsageError where one has another."""
    first = next(iter(shapes))
    for name, shape in shapes.items():
        if shape != shapes[first]:
            raise UsageError(
                f"sharing={pattern} needs inputs of one shape: those of {first} are {list(shapes[first])}, those of "
                f"{name} {list(shape)}; bring them to one size (data.size), or take sharing=stem or sharing=trunk."
            )
    return first
