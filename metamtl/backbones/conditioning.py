"""Where a network is conditioned on a task: after the normalisation of each layer, before what rectifies it.

Before it, batch statistics would take a scale and shift of all examples out again. Without normalisation that is the
layer's output, whose channels are scaled and shifted (Perez et al. 2018, FiLM, AAAI, equation 2).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from metamtl.backbones.norm import BatchNorm, GroupNorm, affine
from metamtl.backbones.text import WordNorm

NORMS = (BatchNorm, GroupNorm, WordNorm, nn.Identity)  # layers that are not normalised have an identity there


def conditionable(backbone: nn.Module) -> dict[str, int]:
    """The names of the layers that stand there, each with the number of its channels, in their order."""
    found = {}
    for name, module in backbone.named_modules():
        if isinstance(module, NORMS) and (channels := _channels(backbone, name)) is not None:
            found[name] = channels
    return found


def condition(backbone: nn.Module, name: str, around: Callable[[nn.Module], nn.Module]) -> None:
    """Puts what `around` makes of the layer `name` in its place."""
    parent, _, last = name.rpartition(".")
    backbone.get_submodule(parent).register_module(last, around(backbone.get_submodule(name)))


def scaled_and_shifted(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Channels of x [N, C], [N, C, H, W], or words [N, L, C], times a scale [C] plus a shift [C]."""
    return x * scale + shift if x.dim() == 3 else affine(x, scale, shift)


def _channels(backbone: nn.Module, name: str) -> int | None:
    """What the layer `name` is given: the outputs of the layer before it in its block, or the inputs of the one after.

    None in a block without a layer of weights.
    """
    block, _, own = name.rpartition(".")
    beside = list(backbone.get_submodule(block).named_children())
    place = [child for child, _ in beside].index(own)
    for side, layers in ((0, reversed(beside[:place])), (1, iter(beside[place:]))):
        for _, layer in layers:
            if isinstance(layer, nn.Linear | nn.Conv2d):
                return int(layer.weight.shape[side])
    return None
