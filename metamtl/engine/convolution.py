"""Convolutions of many tasks, each with weights of its own, that are differentiated any number of times.

y = C(x, w) is linear in both, and so are the slopes that its backward pass needs: the input's I(g, w) and the weight's
W(x, g). Each one's derivatives are the other two,

    dC = C(dx, w) + C(x, dw)    dI = I(dg, w) + I(g, dw)    dW = W(dx, g) + W(x, dg)

so that a second derivative runs the kernels of the first, where torch's own assembles it of transposed and grouped
convolutions. Maps lie with their channels last, the layout in which the kernels need no copies. Small convolutions,
whose arithmetic a call of a kernel outweighs, are one matrix product of all tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.backbones.vectorised import OfTasks, channels_last
from metamtl.engine.maps import Pair, pair, pixels, unread

KERNEL_CALL = 3e6  # multiplications of a task below which one product of all tasks is faster (measured, one core)
POSITIONS = 1024  # added up by one product on a GPU
PATCHES_ON_A_GPU = 1e7  # numbers in a task's patches up to which it is faster there (measured, an H100)


class Geometry(NamedTuple):
    """Each of rows and columns: stride, padding, and the sides of the inputs and of the kernel."""

    stride: Pair
    padding: Pair
    sides: Pair
    kernel: Pair

    @property
    def outputs(self) -> Pair:
        """The sides of the outputs."""
        rows, columns = (
            (side + 2 * pad - size) // step + 1
            for side, pad, size, step in zip(self.sides, self.padding, self.kernel, self.stride, strict=True)
        )
        return rows, columns


class Convolve(OfTasks):
    """C: maps x [T, N, C, H, W] and weights w [T, O, C, K, L] to maps [T, N, O, H', W']."""

    @staticmethod
    def forward(x: Tensor, w: Tensor, geometry: Geometry) -> Tensor:
        """The outputs."""
        return _outputs(x, w, geometry).detach()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """I(g, w) and W(x, g)."""
        (x, w), g, (by_x, by_w, _) = ctx.saved_tensors, channels_last(slopes[0]), ctx.needs_input_grad
        return (
            InputSlope.of(g, w, *ctx.constants) if by_x else None,
            WeightSlope.of(x, g, *ctx.constants) if by_w else None,
            None,
        )


class InputSlope(OfTasks):
    """I: slopes g of the outputs and weights to the slopes of the inputs."""

    @staticmethod
    def forward(g: Tensor, w: Tensor, geometry: Geometry) -> Tensor:
        """The inputs' slopes."""
        return _input_slope(g, w, geometry).detach()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """C(v, w) and W(v, g)."""
        (g, w), v, (by_g, by_w, _) = ctx.saved_tensors, channels_last(slopes[0]), ctx.needs_input_grad
        return (
            Convolve.of(v, w, *ctx.constants) if by_g else None,
            WeightSlope.of(v, g, *ctx.constants) if by_w else None,
            None,
        )


class WeightSlope(OfTasks):
    """W: inputs and slopes g of the outputs to the slopes of the weights."""

    @staticmethod
    def forward(x: Tensor, g: Tensor, geometry: Geometry) -> Tensor:
        """The weights' slopes."""
        return _weight_slope(x, g, geometry).detach()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """I(g, v) and C(x, v)."""
        (x, g), v, (by_x, by_g, _) = ctx.saved_tensors, slopes[0], ctx.needs_input_grad
        return (
            InputSlope.of(g, v, *ctx.constants) if by_x else None,
            Convolve.of(x, v, *ctx.constants) if by_g else None,
            None,
        )


# ---- the kernels ----


def _is_small(maps: Tensor, w: Tensor, geometry: Geometry) -> bool:
    """Whether one product of all tasks is faster than a call of a kernel for each.

    It is where a task's multiplications are few, or patches of the inputs are much smaller than the outputs, as those
    of grey images are; on a GPU, which kernels of one task do not fill, unless patches take a lot of memory.
    """
    rows, columns = geometry.outputs
    outputs, patch = w.shape[1], w[0, 0].numel()
    numbers = maps.shape[1] * rows * columns * patch
    few = numbers <= PATCHES_ON_A_GPU if maps.is_cuda else numbers * outputs < KERNEL_CALL or 3 * patch <= outputs
    return len(maps) > 1 and few


def _outputs(x: Tensor, w: Tensor, geometry: Geometry) -> Tensor:
    if _is_small(x, w, geometry):
        return _maps(_patches(x, geometry) @ _rows(w).mT, x.shape[1], geometry.outputs)

    def native(x: Tensor, w: Tensor) -> Tensor:
        return F.conv2d(x, w, None, geometry.stride, geometry.padding)

    return _each(native, x, w)


def _input_slope(g: Tensor, w: Tensor, geometry: Geometry) -> Tensor:
    if _is_small(g, w, geometry):
        return _folded(pixels(g).flatten(1, 2) @ _rows(w), g.shape[1], geometry)

    def native(g: Tensor, w: Tensor) -> Tensor:
        return _native_slope(g, unread(g, (len(g), w.shape[1], *geometry.sides)), w, geometry, 0)

    return _each(native, g, w)


def _weight_slope(x: Tensor, g: Tensor, geometry: Geometry) -> Tensor:
    shape = g.shape[2], x.shape[2], *geometry.kernel
    w = unread(g, shape)
    if _is_small(g, w[None], geometry):
        slope = _products(_patches(x, geometry), pixels(g).flatten(1, 2)).mT.contiguous()
        return slope.view(len(x), shape[0], *geometry.kernel, shape[1]).movedim(-1, 2)
    return torch.stack([_native_slope(g, x, w, geometry, 1) for x, g in zip(x, g, strict=True)])


def _native_slope(g: Tensor, x: Tensor, w: Tensor, geometry: Geometry, which: int) -> Tensor:
    wanted = [number == which for number in range(3)]
    stride, padding = geometry.stride, geometry.padding
    slopes = torch.ops.aten.convolution_backward(g, x, w, None, stride, padding, (1, 1), False, (0, 0), 1, wanted)
    found: Tensor = slopes[which]
    return found


def _each(native: Callable[[Tensor, Tensor], Tensor], maps: Tensor, w: Tensor) -> Tensor:
    """`native` of every task's maps and weights; at once for tasks that share their weights."""
    if len(maps) == 1 or w.stride(0) == 0:
        together = native(maps.flatten(0, 1), w[0])
        return together.view(*maps.shape[:2], *together.shape[1:])
    results = [native(of_task, weights) for of_task, weights in zip(maps.unbind(), w.unbind(), strict=True)]
    return torch.cat(results).view(*maps.shape[:2], *results[0].shape[1:])


# ---- as matrix products ----


def _patches(x: Tensor, geometry: Geometry) -> Tensor:
    """What the kernel sees at every position: [T, N H' W', K L C]."""
    (rows, columns), (down, right) = geometry.padding, geometry.stride
    padded = F.pad(x.movedim(2, -1), (0, 0, columns, columns, rows, rows))
    task, count, row, column, channel = padded.stride()
    shape = (*x.shape[:2], *geometry.outputs, *geometry.kernel, x.shape[2])
    seen = padded.as_strided(shape, (task, count, row * down, column * right, row, column, channel))
    return seen.reshape(len(x), math.prod(shape[1:4]), math.prod(shape[4:]))


def _folded(patches: Tensor, count: int, geometry: Geometry) -> Tensor:
    """The transpose of `_patches` for `count` maps a task: what falls on the same pixel is added up."""
    (rows, columns), (down, right), (height, width) = geometry.padding, geometry.stride, geometry.sides
    channels = patches.shape[2] // math.prod(geometry.kernel)
    seen = patches.view(len(patches), count, *geometry.outputs, *geometry.kernel, channels)
    padded = patches.new_zeros(len(patches), count, height + 2 * rows, width + 2 * columns, channels)
    for row in range(geometry.kernel[0]):
        for column in range(geometry.kernel[1]):
            ends = row + down * geometry.outputs[0], column + right * geometry.outputs[1]
            padded[:, :, row : ends[0] : down, column : ends[1] : right] += seen[:, :, :, :, row, column]
    return padded[:, :, rows : rows + height, columns : columns + width].movedim(-1, 2)


def _products(patches: Tensor, g: Tensor) -> Tensor:
    """Sums over positions [T, K L C, O] of patches [T, P, K L C] times slopes [T, P, O].

    In this order the longer side of the result is the one that MKL works on at once: 4 times as fast. A GPU's kernels
    add up all positions one after another: of a few at a time, more digits are right and more of the GPU is busy.
    """
    return _in_parts(patches, g, POSITIONS) if g.is_cuda else patches.mT @ g


def _in_parts(patches: Tensor, g: Tensor, positions: int) -> Tensor:
    parts = max(1, -(-g.shape[1] // positions))
    more = (0, 0, 0, -g.shape[1] % parts)
    patches, g = (F.pad(t, more).view(len(t), parts, -1, t.shape[2]) for t in (patches, g))
    return (patches.mT @ g).sum(1)


def _rows(w: Tensor) -> Tensor:
    """Weights as [T, O, K L C]."""
    return w.movedim(2, -1).flatten(2)


def _maps(pixels: Tensor, count: int, sides: Pair) -> Tensor:
    return pixels.view(len(pixels), count, *sides, pixels.shape[2]).movedim(-1, 2)


# ---- the place of torch's own ----


def convolve(x: Tensor, w: Tensor, geometry: Geometry) -> Tensor:
    """Maps [N, O, H', W'] of one task's maps x [N, C, H, W] and weights w [O, C, K, L]."""
    y: Tensor = Convolve.of(channels_last(x[None]), w[None], geometry)
    return y.squeeze(0)


def convolved(
    input: Tensor,  # these are conv2d's own names
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    """`conv2d` of maps [N, C, H, W]; None for groups, dilation, mixed or complex numbers and what torch refuses."""
    plain = groups == 1 and pair(dilation) == (1, 1) and not isinstance(padding, str)
    fits = plain and input.dim() == weight.dim() == 4 and input.shape[1] == weight.shape[1]
    fits = fits and input.dtype == weight.dtype and not input.is_complex() and (bias is None or _fits(bias, weight))
    if not fits or torch.is_autocast_enabled(input.device.type):
        return None
    sides, kernel = (input.shape[2], input.shape[3]), (weight.shape[2], weight.shape[3])
    geometry = Geometry(pair(stride), pair(padding), sides, kernel)
    if min(geometry.stride) < 1 or min(geometry.padding) < 0 or min(geometry.outputs) < 1:
        return None  # torch says what is wrong
    y = convolve(input, weight, geometry)
    return y if bias is None else y + bias.view(-1, 1, 1)


def _fits(bias: Tensor, weight: Tensor) -> bool:
    return bias.shape == weight.shape[:1] and bias.dtype == weight.dtype
