"""Max-pooling of many tasks whose derivatives are gathers and scatters by the same places.

The slope of pooling is a scatter S(g) of the outputs' slopes to the places of the maxima, and that of a scatter is a
gather G(v) from them, whose slope is S again. Torch's own second derivative also makes maps of zeros, for what the
slope changes with x, and gathers in a layout for which maps with channels last have to be copied.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from metamtl.backbones.vectorised import OfTasks, channels_last
from metamtl.engine.maps import Pair, pair, pixels, unread


class Window(NamedTuple):
    """Sides of a window on maps of `sides`, steps between windows, padding, dilation, and whether sides round up."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil: bool
    sides: Pair


class Pool(OfTasks):
    """The maxima [T, N, C, H', W'] of windows of maps [T, N, C, H, W], and their places in a map."""

    @staticmethod
    def forward(x: Tensor, window: Window) -> tuple[Tensor, Tensor]:
        """Maxima and places."""
        y, places = torch.ops.aten.max_pool2d_with_indices(x.flatten(0, 1), *window[:5])
        return _apart(y, x), _apart(places, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keeps the places."""
        ctx.window = inputs[1]
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        """S(g)."""
        return Scatter.of(channels_last(slopes[0]), ctx.saved_tensors[0], ctx.window), None


class _ByPlaces(OfTasks):
    """An operation that is linear in the first of its inputs, which its derivatives then need not."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keeps the places."""
        _, places, ctx.window = inputs
        ctx.save_for_backward(places)


class Scatter(_ByPlaces):
    """S: values at places [T, N, C, H', W'] to maps [T, N, C, H, W], those that fall on one place added up."""

    @staticmethod
    def forward(g: Tensor, places: Tensor, window: Window) -> Tensor:
        """The maps."""
        merged = g.flatten(0, 1)
        pooled = unread(g, (*merged.shape[:2], *window.sides))  # whose size alone is asked for
        backward = torch.ops.aten.max_pool2d_with_indices_backward
        return _apart(backward(merged, pooled, *window[:5], places.flatten(0, 1)), g)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        """G(v)."""
        return Gather.of(channels_last(slopes[0]), ctx.saved_tensors[0], ctx.window), None, None


class Gather(_ByPlaces):
    """G: the values of maps [T, N, C, H, W] at places [T, N, C, H', W']."""

    @staticmethod
    def forward(v: Tensor, places: Tensor, window: Window) -> Tensor:
        """The values."""
        found = pixels(v).gather(2, pixels(places))
        return found.view(*places.shape[:2], *places.shape[3:], places.shape[2]).movedim(-1, 2).detach()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        """S(g)."""
        return Scatter.of(channels_last(slopes[0]), ctx.saved_tensors[0], ctx.window), None, None


def pooled(
    input: Tensor,  # these are max_pool2d's own names
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | None:
    """`max_pool2d` of one task's maps [N, C, H, W]; None for other maps, and for those of which nothing is a window."""
    if input.dim() != 4 or input.numel() == 0 or not input.is_floating_point() or return_indices:
        return None
    kernel = pair(kernel_size)
    sides = (input.shape[2], input.shape[3])
    window = Window(
        kernel, kernel if stride in (None, [], ()) else pair(stride), pair(padding), pair(dilation), ceil_mode, sides
    )
    y: Tensor = Pool.of(channels_last(input[None]), window)[0]
    return y.squeeze(0)


def _apart(maps: Tensor, like: Tensor) -> Tensor:
    return maps.view(*like.shape[:2], *maps.shape[1:]).detach()
