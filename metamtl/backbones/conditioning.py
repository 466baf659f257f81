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
        before = _layers_beside(backbone, name)
        if isinstance(module, NORMS) and before:
            found[name] = before[-1].weight.shape[0]
    return found


def condition(backbone: nn.Module, name: str, around: Callable[[nn.Module], nn.Module]) -> None:
    """Puts what `around` makes of the layer `name` in its place."""
    parent, _, last = name.rpartition(".")
    backbone.get_submodule(parent).register_module(last, around(backbone.get_submodule(name)))


def scaled_and_shifted(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Channels of x [N, C], [N, C, H, W], or words [N, L, C], times a scale [C] plus a shift [C]."""
    return x * scale + shift if x.dim() == 3 else affine(x, scale, shift)


def _layers_beside(backbone: nn.Module, name: str) -> list[nn.Linear | nn.Conv2d]:
    """The layers with weights in the block of the layer `name`."""
    block = backbone.get_submodule(name.rpartition(".")[0])
    return [module for module in block.children() if isinstance(module, nn.Linear | nn.Conv2d)]
