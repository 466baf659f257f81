"""Batch normalisation of maps with its two derivatives, in as few passes over memory as there can be, by numba.

Maps are arrays [T, P, C]: the positions of T tasks, channels last. Each kernel reads its maps once for their sums and
once more for its results. (From the end, as what was read last is still in the processor's cache, the second time
would take longer: numba's loops backwards do not become vector instructions.) Sums are over 64 positions in the maps'
own precision and then in float64: off by 3e-7 at most in single precision. Variances are put together as Chan, Golub &
LeVeque (1983), Algorithms for computing the sample variance, The American Statistician 37, have it. Python's lock is
released; what is compiled is kept on disk.

numba takes half a second to import: nothing but `metamtl.backbones.fused` imports this module, and only when needed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

import numpy as np

Kernel = TypeVar("Kernel", bound=Callable[..., None])
Array = np.ndarray[Any, Any]

ROWS = 64  # positions summed in the maps' own precision


def _compiled(function: Kernel) -> Kernel:
    # a product and its sum may be one instruction, which rounds once; no sum may be taken in another order
    options = {"nogil": True, "cache": True, "boundscheck": False, "error_model": "numpy", "fastmath": {"contract"}}
    made: Kernel = import_module("numba").njit(**options)(function)
    return made


@_compiled
def normalise(x: Array, weight: Array, bias: Array, epsilon: float, y: Array, mean: Array, r: Array) -> None:
    """Fills y = (x - mean) r weight + bias, mean [T, C] and r = 1 / sqrt(var + epsilon) [T, C]."""
    tasks, count, channels = x.shape
    found, squares = np.empty(channels, np.float64), np.empty(channels, np.float64)
    scale, shift = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    for task in range(tasks):
        _moments(x[task], found, squares)
        for c in range(channels):
            inverse = 1 / np.sqrt(squares[c] / count + epsilon)
            mean[task, c], r[task, c] = found[c], inverse
            scale[c] = weight[task, c] * inverse
            shift[c] = bias[task, c] - found[c] * weight[task, c] * inverse
        for p in range(count):
            for c in range(channels):
                y[task, p, c] = scale[c] * x[task, p, c] + shift[c]


@_compiled
def gradient(
    g: Array, x: Array, weight: Array, mean: Array, r: Array, on_x: Array, gz_sum: Array, g_sum: Array
) -> None:
    """Fills the gradient of x from g, that of y, and the sums [T, C] of g z and of g, for z = (x - mean) r."""
    tasks, count, channels = x.shape
    total, total_z = np.empty(channels, np.float64), np.empty(channels, np.float64)
    by_g, by_x, shift = np.empty(channels, x.dtype), np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    for task in range(tasks):
        _sums(g[task], x[task], mean[task], total, total_z)
        for c in range(channels):
            scale = np.float64(weight[task, c]) * r[task, c]
            gz_sum[task, c], g_sum[task, c] = total_z[c] * r[task, c], total[c]
            slant = -scale * r[task, c] * r[task, c] * total_z[c] / count
            by_g[c], by_x[c], shift[c] = scale, slant, -scale * total[c] / count - slant * mean[task, c]
        for p in range(count):
            for c in range(channels):
                on_x[task, p, c] = by_g[c] * g[task, p, c] + (by_x[c] * x[task, p, c] + shift[c])


@_compiled
def second(
    v: Array,
    v_weight: Array,
    v_bias: Array,
    g: Array,
    x: Array,
    weight: Array,
    mean: Array,
    r: Array,
    gz_sum: Array,
    g_sum: Array,
    on_g: Array,
    on_x: Array,
    on_weight: Array,
) -> None:
    """Fills the gradients of g, x and weight from those of what `gradient` fills: v, v_weight and v_bias [T, C].

    The formulas are those of `metamtl.backbones.norm`.
    """
    tasks, count, channels = x.shape
    sums = np.empty((3, channels), np.float64)
    of_g, of_x = np.empty((2, channels), x.dtype), np.empty((4, channels), x.dtype)
    for task in range(tasks):
        _sums_of_three(v[task], g[task], x[task], mean[task], sums)
        for c in range(channels):
            w, inverse, centre = np.float64(weight[task, c]), np.float64(r[task, c]), np.float64(mean[task, c])
            gz, by_bias, by_weight = np.float64(gz_sum[task, c]), np.float64(v_bias[task, c]), v_weight[task, c]
            v_sum, vz, vg = sums[0, c], sums[1, c] * inverse, sums[2, c]
            share = w * inverse / count
            along = vg - (v_sum * g_sum[task, c] + vz * gz) / count
            on_weight[task, c] = inverse * along
            slant = (by_weight - share * vz) * inverse
            of_g[0, c], of_g[1, c] = slant, by_bias - share * v_sum - slant * centre
            by_v, by_g = -share * gz, by_weight - share * vz
            by_z_mean = (by_v * v_sum + by_g * g_sum[task, c]) / count
            on_z = -inverse * ((by_v * vz + by_g * gz) / count + share * along)
            of_x[0, c], of_x[1, c], of_x[2, c] = inverse * by_v, inverse * by_g, on_z * inverse
            of_x[3, c] = -inverse * by_z_mean - on_z * inverse * centre
        _two_maps(v[task], g[task], x[task], weight[task], r[task], of_g, of_x, on_g[task], on_x[task])


@_compiled
def _two_maps(
    v: Array, g: Array, x: Array, weight: Array, r: Array, of_g: Array, of_x: Array, on_g: Array, on_x: Array
) -> None:
    """Fills the gradients of g and of x [P, C] by their coefficients of every channel."""
    count, channels = x.shape
    scale = np.empty(channels, x.dtype)
    for c in range(channels):
        scale[c] = weight[c] * r[c]
    for p in range(count):
        for c in range(channels):
            on_g[p, c] = scale[c] * v[p, c] + (of_g[0, c] * x[p, c] + of_g[1, c])
            on_x[p, c] = of_x[0, c] * v[p, c] + (of_x[1, c] * g[p, c] + (of_x[2, c] * x[p, c] + of_x[3, c]))


@_compiled
def _moments(x: Array, mean: Array, squares: Array) -> None:
    """Fills the mean of x [P, C], and the sum of squares of x - mean."""
    count, channels = x.shape
    near, ones, twos = np.empty(channels, x.dtype), np.zeros(channels, x.dtype), np.empty(channels, x.dtype)
    first = min(count, ROWS)
    for p in range(first):
        for c in range(channels):
            ones[c] += x[p, c]
    for c in range(channels):
        near[c], mean[c], squares[c] = ones[c] / first, 0.0, 0.0
    for start in range(0, count, ROWS):
        end = min(count, start + ROWS)
        even = end - (end - start) % 4
        ones[:], twos[:] = 0, 0
        for p in range(start, even, 4):
            for c in range(channels):
                a, b, d, e = x[p, c] - near[c], x[p + 1, c] - near[c], x[p + 2, c] - near[c], x[p + 3, c] - near[c]
                ones[c] += (a + b) + (d + e)
                twos[c] += (a * a + b * b) + (d * d + e * e)
        for p in range(even, end):
            for c in range(channels):
                a = x[p, c] - near[c]
                ones[c] += a
                twos[c] += a * a
        size = end - start
        for c in range(channels):
            off = np.float64(ones[c]) / size
            delta = near[c] + off - mean[c]
            squares[c] += (twos[c] - off * ones[c]) + delta * delta * (start * size / end)
            mean[c] += delta * size / end
            near[c] = mean[c]  # so that squares are of what is small


@_compiled
def _sums(g: Array, x: Array, mean: Array, total: Array, total_z: Array) -> None:
    """Fills the sums of g and of g (x - mean), for maps [P, C]."""
    count, channels = x.shape
    ones, twos = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    total[:], total_z[:] = 0, 0
    for start in range(0, count, ROWS):
        end = min(count, start + ROWS)
        even = end - (end - start) % 2
        ones[:], twos[:] = 0, 0
        for p in range(start, even, 2):
            for c in range(channels):
                ones[c] += g[p, c] + g[p + 1, c]
                twos[c] += g[p, c] * (x[p, c] - mean[c]) + g[p + 1, c] * (x[p + 1, c] - mean[c])
        for p in range(even, end):
            for c in range(channels):
                ones[c] += g[p, c]
                twos[c] += g[p, c] * (x[p, c] - mean[c])
        for c in range(channels):
            total[c] += ones[c]
            total_z[c] += twos[c]


@_compiled
def _sums_of_three(v: Array, g: Array, x: Array, mean: Array, sums: Array) -> None:
    """Fills the sums [3, C] of v, of v (x - mean) and of v g, for maps [P, C]."""
    count, channels = x.shape
    ones, twos, threes = np.empty(channels, x.dtype), np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    sums[:] = 0
    for start in range(0, count, ROWS):
        end = min(count, start + ROWS)
        even = end - (end - start) % 2
        ones[:], twos[:], threes[:] = 0, 0, 0
        for p in range(start, even, 2):
            for c in range(channels):
                ones[c] += v[p, c] + v[p + 1, c]
                twos[c] += v[p, c] * (x[p, c] - mean[c]) + v[p + 1, c] * (x[p + 1, c] - mean[c])
                threes[c] += v[p, c] * g[p, c] + v[p + 1, c] * g[p + 1, c]
        for p in range(even, end):
            for c in range(channels):
                ones[c] += v[p, c]
                twos[c] += v[p, c] * (x[p, c] - mean[c])
                threes[c] += v[p, c] * g[p, c]
        for c in range(channels):
            sums[0, c] += ones[c]
            sums[1, c] += twos[c]
            sums[2, c] += threes[c]
