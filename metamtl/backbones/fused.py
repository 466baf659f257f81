"""Passes over maps by compiled kernels (`metamtl.backbones.fused_kernels`), where numba is installed.

Having numba or not changes last bits. So an engine says whether its arithmetic uses the kernels (`fused`), which its
plan records; whatever else calls the layers has torch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch as functorch

from metamtl.backbones.tail import Tail
from metamtl.backbones.vectorised import is_transformed

_ON: ContextVar[bool] = ContextVar("metamtl_fused", default=False)
Three = tuple[Tensor, Tensor, Tensor]
_PARTS = 32  # functions that a kernel is compiled of, at most


@cache
def available() -> bool:
    """Whether there is a numba that works here; this imports it, which takes half a second."""
    try:
        _kernels()
    except Exception:  # not installed, or not for this numpy, or with no folder for what it compiles
        return False
    return True


@contextmanager
def fused(on: bool) -> Iterator[None]:
    """While passes over maps are taken by compiled kernels, or by torch's own."""
    token = _ON.set(on)
    try:
        yield
    finally:
        _ON.reset(token)


def on() -> bool:
    """Whether layers are to call the kernels.

    Compilers and recordings, and functions that a learner transforms by torch.func itself, cannot see into them.
    """
    return _on_unseen() and not is_transformed()


def serves(*maps: Tensor) -> bool:
    """Whether the kernels are on, and made for these maps [T, N, C, H, W]: dense, the channels last, float32 or 64."""
    if not _on_unseen():
        return False
    dtype = maps[0].dtype
    return dtype in (torch.float32, torch.float64) and all(map(_is_dense, maps)) and len({m.dtype for m in maps}) == 1


def normalise(x: Tensor, weight: Tensor, bias: Tensor, *, epsilon: float, tail: Tail) -> Three:
    """The outputs of a tail for normalised maps, mean [T, C] and 1 / sqrt(var + epsilon) [T, C]."""
    sides = [side // tail.pool for side in x.shape[3:]]
    y, mean, r = _empty_maps(x, *sides), _empty_rows(x), _empty_rows(x)
    _fill(_kernels().normalise, *map(_array, (x, weight, bias)), epsilon, *_of(tail, x), *map(_array, (y, mean, r)))
    return y, mean, r


def normalise_gradient(g: Tensor, *given: Tensor, tail: Tail) -> Three:
    """The gradient of x and sums [T, C] of h z and of h, by the gradient of y; given x, weight, bias, mean and r.

    Here z = (x - mean) r, and h is the gradient of z weight + bias.
    """
    x = given[0]
    found = _empty_maps(x, *x.shape[3:]), _empty_rows(x), _empty_rows(x)
    _fill(_kernels().gradient, *map(_array, (g, *given)), *_of(tail, x), *map(_array, found))
    return found


def normalise_second(slopes: Three, g: Tensor, x: Tensor, *given: Tensor, tail: Tail) -> Three:
    """Gradients of g, x and weight from those of the slope's results; given weight, bias, mean, r and both sums."""
    found = _empty_maps(x, *g.shape[3:]), _empty_maps(x, *x.shape[3:]), _empty_rows(x)
    _fill(_kernels().second, *map(_array, (*slopes, g, x, *given)), *_of(tail, x), *map(_array, found))
    return found


def _on_unseen() -> bool:
    return _ON.get() and not torch.compiler.is_compiling() and not torch._C._len_torch_dispatch_stack()


def _fill(kernel: Callable[..., None], *given: Any) -> None:
    """Calls a kernel, compiled first where need be.

    On a full disk numba raises once for the kernel and once for each function that it calls, and keeps what it compiled
    in memory.
    """
    for _ in range(_PARTS):
        try:
            return kernel(*given)
        except OSError:
            continue
    return kernel(*given)


@cache
def _kernels() -> ModuleType:
    return import_module("metamtl.backbones.fused_kernels")


def _is_dense(maps: Tensor) -> bool:
    if maps.dim() != 5 or maps.device.type != "cpu" or functorch.is_functorch_wrapped_tensor(maps):
        return False
    return maps.numel() > 0 and maps.permute(0, 1, 3, 4, 2).is_contiguous()


def _array(tensor: Tensor) -> Any:
    """Maps as [T, positions, C], rows of values [T, C] as they are; the maps' own memory."""
    tensor = tensor.detach()
    if tensor.dim() == 2:
        return tensor.contiguous().numpy()
    return tensor.permute(0, 1, 3, 4, 2).view(len(tensor), -1, tensor.shape[2]).numpy()


def _of(tail: Tail, x: Tensor) -> tuple[Any, int, int, int]:
    """What a kernel is told of a tail and of the maps x: a factor in their precision, and whole numbers."""
    return _array(x).dtype.type(tail.low), tail.pool, x.shape[3], x.shape[4]


def _empty_maps(maps: Tensor, height: int, width: int) -> Tensor:
    tasks, count, channels = maps.shape[:3]
    # no view, which nobody may change in place
    return maps.new_empty(tasks, count, height, width, channels).permute(0, 1, 4, 2, 3).detach()


def _empty_rows(maps: Tensor) -> Tensor:
    return maps.new_empty(len(maps), maps.shape[2])
