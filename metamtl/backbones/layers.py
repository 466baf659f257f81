"""Layers one after another, of which compiled kernels take several in one pass over memory."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from metamtl.backbones import fused
from metamtl.backbones.norm import BatchNorm
from metamtl.backbones.tail import NO_TAIL, Tail


class Layers(nn.Sequential):
    """`nn.Sequential`, with batch normalisation and the pooling and rectifier that follow it as one step.

    That is done where the kernels are on, and changes last bits alone; layers that are hooked or replaced are called by
    themselves.
    """

    def forward(self, x: Tensor) -> Tensor:
        """What the last layer gives."""
        layers, at, fuses = list(self), 0, fused.on()
        while at < len(layers):
            tail, length = _joined_to(layers[at:]) if fuses else (NO_TAIL, 0)
            x = layers[at](x, tail) if length else layers[at](x)
            at += 1 + length
        return x


def _joined_to(layers: Sequence[nn.Module]) -> tuple[Tail, int]:
    """What is done in one step with the first of these layers, and how many layers that are."""
    if type(layers[0]) is not BatchNorm:
        return NO_TAIL, 0
    tail, length = tail_of(layers[1:])
    return (NO_TAIL, 0) if any(map(_is_hooked, layers[: 1 + length])) else (tail, length)


def tail_of(layers: Sequence[nn.Module]) -> tuple[Tail, int]:
    """What the first of these layers are together, and how many they are: pooling by two, a rectifier, or both."""
    pool, low, count = 1, 1.0, 0
    if layers and _halves(layers[0]):
        pool, count = 2, 1
    rectifier = layers[count] if len(layers) > count else None
    if type(rectifier) is nn.ReLU:
        low, count = 0.0, count + 1
    elif type(rectifier) is nn.LeakyReLU and 0 < rectifier.negative_slope < 1:
        low, count = rectifier.negative_slope, count + 1
    return Tail(pool, low), count


def _is_hooked(layer: nn.Module) -> bool:
    """Whether somebody looks at, or changes, what goes in or out of it."""
    of_forward = layer._forward_hooks, layer._forward_pre_hooks
    return any((*of_forward, layer._backward_hooks, layer._backward_pre_hooks))


def _halves(layer: nn.Module) -> bool:
    """Whether it takes the largest of each window of two by two, and does nothing else."""
    if type(layer) is not nn.MaxPool2d or layer.ceil_mode or layer.return_indices:
        return False
    given = (layer.kernel_size, 2), (layer.stride, 2), (layer.padding, 0), (layer.dilation, 1)
    return all(value in (usual, (usual, usual)) for value, usual in given)
