"""Batch normalisation of maps and what follows it, with two derivatives, in as few passes as there can be, by numba.

Maps are arrays [T, P, C]: the positions of T tasks, channels last, of pictures of `height` x `width`. What is
normalised may be pooled (`pool` of 2: the largest of each window of two by two positions, an odd last row or column
dropped), and is multiplied by `low` where it is not above zero. Which position was the largest, and its sign, is found
anew for every derivative: that takes less time than to keep it. A loop over channels writes one array of rows wherever
it can, as several are not known to lie apart, and it is not made of vector instructions then.

Each kernel reads its maps once for their sums and once more for its results. (From the end, as what was read last is
still in the processor's cache, the second time would take longer: numba's loops backwards do not become vector
instructions.) Sums are over 64 positions in the maps' own precision and then in float64: off by 3e-7 at most in
single precision. Variances are put together as Chan, Golub & LeVeque (1983), Algorithms for computing the sample
variance, The American Statistician 37, have it. Python's lock is released. What is compiled is kept on disk for as
long as this file stays what it is, and no other is looked at: so all that a kernel calls is here, however long that is.

numba takes half a second to import: nothing but `metamtl.backbones.fused` imports this module, and only when needed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

import numpy as np

Kernel = TypeVar("Kernel", bound=Callable[..., Any])
Array = np.ndarray[Any, Any]
Line = tuple[Array, Array, float]  # scale and shift [C] by which x is normalised, and `low`
Windows = tuple[Array, Array, int]  # what `_windows` gives

ROWS = 64  # positions summed in the maps' own precision


def _compiled(function: Kernel) -> Kernel:
    # a product and its sum may be one instruction, which rounds once; no sum may be taken in another order
    options = {"nogil": True, "cache": True, "boundscheck": False, "error_model": "numpy", "fastmath": {"contract"}}
    made: Kernel = import_module("numba").njit(**options)(function)
    return made


@_compiled
def normalise(
    x: Array,
    weight: Array,
    bias: Array,
    epsilon: float,
    low: float,
    pool: int,
    height: int,
    width: int,
    y: Array,
    mean: Array,
    r: Array,
) -> None:
    """Fills y [T, P', C], mean [T, C] and r = 1 / sqrt(var + epsilon) [T, C]."""
    tasks, count, channels = x.shape
    found, squares = np.empty(channels, np.float64), np.empty(channels, np.float64)
    scale, shift = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    line, windows = (scale, shift, low), _windows(count, pool, height, width)
    for task in range(tasks):
        _moments(x[task], found, squares)
        for c in range(channels):
            mean[task, c], r[task, c] = found[c], 1 / np.sqrt(squares[c] / count + epsilon)
        _line(weight[task], bias[task], mean[task], r[task], scale, shift)
        _outputs(x[task], line, pool, windows, y[task])


@_compiled
def gradient(
    g: Array,
    x: Array,
    weight: Array,
    bias: Array,
    mean: Array,
    r: Array,
    low: float,
    pool: int,
    height: int,
    width: int,
    on_x: Array,
    hz_sum: Array,
    h_sum: Array,
) -> None:
    """Fills the gradient of x from g, that of y, and the sums [T, C] of h z and of h.

    Here z = (x - mean) r, and h is the gradient of z weight + bias.
    """
    tasks, count, channels = x.shape
    total, total_z = np.empty(channels, np.float64), np.empty(channels, np.float64)
    scale, shift = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    by_x, constant = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    line, windows = (scale, shift, low), _windows(count, pool, height, width)
    for task in range(tasks):
        _line(weight[task], bias[task], mean[task], r[task], scale, shift)
        if pool == 1:
            _sums(g[task], x[task], mean[task], line, total, total_z)
        else:
            _pooled_sums(g[task], x[task], mean[task], line, windows, total, total_z)
        for c in range(channels):
            by_h, inverse = np.float64(weight[task, c]) * r[task, c], np.float64(r[task, c])
            hz_sum[task, c], h_sum[task, c] = total_z[c] * inverse, total[c]
            slant = -by_h * inverse * inverse * total_z[c] / count
            by_x[c], constant[c] = slant, -by_h * total[c] / count - slant * mean[task, c]
        if pool == 1:
            _one_map(g[task], x[task], line, by_x, constant, on_x[task])
        else:
            _pooled_map(g[task], x[task], line, windows, by_x, constant, on_x[task])


@_compiled
def second(
    v: Array,
    v_weight: Array,
    v_bias: Array,
    g: Array,
    x: Array,
    weight: Array,
    bias: Array,
    mean: Array,
    r: Array,
    hz_sum: Array,
    h_sum: Array,
    low: float,
    pool: int,
    height: int,
    width: int,
    on_g: Array,
    on_x: Array,
    on_weight: Array,
) -> None:
    """Fills the gradients of g, x and weight from those of what `gradient` fills: v, v_weight and v_bias [T, C].

    The formulas are those of `metamtl.backbones.batch_normalise`.
    """
    tasks, count, channels = x.shape
    sums = np.empty((3, channels), np.float64)
    scale, shift = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    of_h, of_x = np.empty((2, channels), x.dtype), np.empty((4, channels), x.dtype)
    line, windows = (scale, shift, low), _windows(count, pool, height, width)
    for task in range(tasks):
        _line(weight[task], bias[task], mean[task], r[task], scale, shift)
        if pool == 1:
            _sums_of_three(v[task], g[task], x[task], mean[task], line, sums)
        else:
            _pooled_sums_of_three(v[task], g[task], x[task], mean[task], line, windows, sums)
        for c in range(channels):
            w, inverse, centre = np.float64(weight[task, c]), np.float64(r[task, c]), np.float64(mean[task, c])
            hz, by_bias, by_weight = np.float64(hz_sum[task, c]), np.float64(v_bias[task, c]), v_weight[task, c]
            v_sum, vz, vh = sums[0, c], sums[1, c] * inverse, sums[2, c]
            share = w * inverse / count
            along = vh - (v_sum * h_sum[task, c] + vz * hz) / count
            on_weight[task, c] = inverse * along
            slant = (by_weight - share * vz) * inverse
            of_h[0, c], of_h[1, c] = slant, by_bias - share * v_sum - slant * centre
            by_v, by_h = -share * hz, by_weight - share * vz
            by_z_mean = (by_v * v_sum + by_h * h_sum[task, c]) / count
            on_z = -inverse * ((by_v * vz + by_h * hz) / count + share * along)
            of_x[0, c], of_x[1, c], of_x[2, c] = inverse * by_v, inverse * by_h, on_z * inverse
            of_x[3, c] = -inverse * by_z_mean - on_z * inverse * centre
        if pool == 1:
            _two_maps(v[task], g[task], x[task], line, of_h, of_x, on_g[task], on_x[task])
        else:
            given = v[task], g[task], x[task]
            _pooled_two_maps(*given, line, windows, of_h, of_x, on_g[task], on_x[task])


@_compiled
def _line(weight: Array, bias: Array, mean: Array, r: Array, scale: Array, shift: Array) -> None:
    """Fills scale and shift [C] by which x is normalised: of the rounded mean and r, so that all kernels agree."""
    for c in range(len(scale)):
        by_x = np.float64(weight[c]) * r[c]
        scale[c], shift[c] = by_x, bias[c] - mean[c] * by_x


@_compiled
def _outputs(x: Array, line: Line, pool: int, windows: Windows, y: Array) -> None:
    """Fills y [P', C] from x [P, C]."""
    scale, shift, low = line
    firsts, _, width = windows
    count, channels = x.shape
    if pool == 1:
        for p in range(count):
            for c in range(channels):
                t = scale[c] * x[p, c] + shift[c]
                y[p, c] = t if t > 0 else low * t
        return
    for place in range(len(y)):
        p = firsts[place]
        q = p + width
        for c in range(channels):
            a, b = scale[c] * x[p, c] + shift[c], scale[c] * x[p + 1, c] + shift[c]
            d, e = scale[c] * x[q, c] + shift[c], scale[c] * x[q + 1, c] + shift[c]
            s, t = b if b > a else a, e if e > d else d
            t = t if t > s else s
            y[place, c] = t if t > 0 else low * t


@_compiled
def _windows(count: int, pool: int, height: int, width: int) -> tuple[Array, Array, int]:
    """The position that each window begins with, those of each picture that are in no window, and the width."""
    pictures, down, across = (count // (height * width) if pool > 1 else 0), height // 2, width // 2
    firsts = np.empty(pictures * down * across, np.int64)
    rest = np.empty((pictures, height * width - 4 * down * across), np.int64)
    place = 0
    for picture in range(pictures):
        left = 0
        for i in range(height):
            for j in range(width):
                p = (picture * height + i) * width + j
                if i >= 2 * down or j >= 2 * across:
                    rest[picture, left] = p
                    left += 1
                elif i % 2 == 0 and j % 2 == 0:
                    firsts[place] = p
                    place += 1
    return firsts, rest, width


@_compiled
def _factors(x: Array, p: int, q: int, c: int, line: Line, one: float) -> tuple[float, float, float, float]:
    """The slopes of a window's output by its four positions: 0 for all but the first of the largest.

    `p` and `q` begin its rows. `one` is of the maps' own precision, as what is made of whole numbers would be float64.
    """
    scale, shift, low = line
    a, b = scale[c] * x[p, c] + shift[c], scale[c] * x[p + 1, c] + shift[c]
    d, e = scale[c] * x[q, c] + shift[c], scale[c] * x[q + 1, c] + shift[c]
    none = one - one
    s, t = b if b > a else a, e if e > d else d
    factor = one if (t if t > s else s) > 0 else low
    upper, lower = none if t > s else factor, factor if t > s else none
    return none if b > a else upper, upper if b > a else none, none if e > d else lower, lower if e > d else none


@_compiled
def _one_map(g: Array, x: Array, line: Line, by_x: Array, constant: Array, on_x: Array) -> None:
    """Fills the gradient of x [P, C] by its coefficients of every channel."""
    scale, shift, low = line
    count, channels = x.shape
    for p in range(count):
        for c in range(channels):
            h = g[p, c]
            h = h if scale[c] * x[p, c] + shift[c] > 0 else low * h
            on_x[p, c] = scale[c] * h + (by_x[c] * x[p, c] + constant[c])


@_compiled
def _pooled_map(g: Array, x: Array, line: Line, windows: Windows, by_x: Array, constant: Array, on_x: Array) -> None:
    """The same for maps that are pooled."""
    scale = line[0]
    firsts, rest, width = windows
    one = x.dtype.type(1)
    channels = x.shape[1]
    h = np.empty((4, channels), x.dtype)
    for place in range(len(g)):
        p = firsts[place]
        q = p + width
        for c in range(channels):
            slope = scale[c] * g[place, c]
            a, b, d, e = _factors(x, p, q, c, line, one)
            h[0, c], h[1, c], h[2, c], h[3, c] = a * slope, b * slope, d * slope, e * slope
        for k in range(4):
            p = firsts[place] + k % 2 + k // 2 * width
            for c in range(channels):
                on_x[p, c] = h[k, c] + (by_x[c] * x[p, c] + constant[c])
    for p in rest.flat:
        for c in range(channels):
            on_x[p, c] = by_x[c] * x[p, c] + constant[c]


@_compiled
def _two_maps(v: Array, g: Array, x: Array, line: Line, of_h: Array, of_x: Array, on_g: Array, on_x: Array) -> None:
    """Fills the gradients of g and of x [P, C] by their coefficients of every channel."""
    scale, shift, low = line
    count, channels = x.shape
    one = x.dtype.type(1)
    for p in range(count):
        for c in range(channels):
            a, b = v[p, c], x[p, c]
            factor = one if scale[c] * b + shift[c] > 0 else low
            on_g[p, c] = factor * (scale[c] * a + (of_h[0, c] * b + of_h[1, c]))
            on_x[p, c] = of_x[0, c] * a + (of_x[1, c] * (factor * g[p, c]) + (of_x[2, c] * b + of_x[3, c]))


@_compiled
def _pooled_two_maps(
    v: Array, g: Array, x: Array, line: Line, windows: Windows, of_h: Array, of_x: Array, on_g: Array, on_x: Array
) -> None:
    """The same for maps that are pooled."""
    scale = line[0]
    firsts, rest, width = windows
    one = x.dtype.type(1)
    channels = x.shape[1]
    h = np.empty((4, channels), x.dtype)
    for place in range(len(g)):
        p = firsts[place]
        q = p + width
        for c in range(channels):
            slope = of_x[1, c] * g[place, c]
            a, b, d, e = _factors(x, p, q, c, line, one)
            h[0, c], h[1, c], h[2, c], h[3, c] = a * slope, b * slope, d * slope, e * slope
            # of the one position that has a factor
            along_v = (a * v[p, c] + b * v[p + 1, c]) + (d * v[q, c] + e * v[q + 1, c])
            along_x = (a * x[p, c] + b * x[p + 1, c]) + (d * x[q, c] + e * x[q + 1, c])
            on_g[place, c] = scale[c] * along_v + (of_h[0, c] * along_x + ((a + b) + (d + e)) * of_h[1, c])
        for k in range(4):
            p = firsts[place] + k % 2 + k // 2 * width
            for c in range(channels):
                on_x[p, c] = of_x[0, c] * v[p, c] + (h[k, c] + (of_x[2, c] * x[p, c] + of_x[3, c]))
    for p in rest.flat:
        for c in range(channels):
            on_x[p, c] = of_x[0, c] * v[p, c] + (of_x[2, c] * x[p, c] + of_x[3, c])


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
def _sums(g: Array, x: Array, mean: Array, line: Line, total: Array, total_z: Array) -> None:
    """Fills the sums of h and of h (x - mean), for maps [P, C]."""
    scale, shift, low = line
    count, channels = x.shape
    ones, twos = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    total[:], total_z[:] = 0, 0
    for start in range(0, count, ROWS):
        end = min(count, start + ROWS)
        even = end - (end - start) % 2
        ones[:], twos[:] = 0, 0
        for p in range(start, even, 2):
            for c in range(channels):
                a, b = g[p, c], g[p + 1, c]
                a = a if scale[c] * x[p, c] + shift[c] > 0 else low * a
                b = b if scale[c] * x[p + 1, c] + shift[c] > 0 else low * b
                ones[c] += a + b
                twos[c] += a * (x[p, c] - mean[c]) + b * (x[p + 1, c] - mean[c])
        for p in range(even, end):
            for c in range(channels):
                a = g[p, c]
                a = a if scale[c] * x[p, c] + shift[c] > 0 else low * a
                ones[c] += a
                twos[c] += a * (x[p, c] - mean[c])
        for c in range(channels):
            total[c] += ones[c]
            total_z[c] += twos[c]


@_compiled
def _pooled_sums(g: Array, x: Array, mean: Array, line: Line, windows: Windows, total: Array, total_z: Array) -> None:
    """The same for maps that are pooled."""
    firsts, _, width = windows
    one = x.dtype.type(1)
    channels = x.shape[1]
    ones, twos = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    total[:], total_z[:] = 0, 0
    across = max(1, width // 2)
    step = max(1, ROWS // across) * across
    for start in range(0, len(g), step):
        ones[:], twos[:] = 0, 0
        for place in range(start, min(len(g), start + step)):
            p = firsts[place]
            q = p + width
            for c in range(channels):
                i, j, k, m = x[p, c], x[p + 1, c], x[q, c], x[q + 1, c]
                h = g[place, c]
                a, b, d, e = _factors(x, p, q, c, line, one)
                ones[c] += h * ((a + b) + (d + e))
                i, j, k, m = i - mean[c], j - mean[c], k - mean[c], m - mean[c]
                twos[c] += h * ((a * i + b * j) + (d * k + e * m))
        for c in range(channels):
            total[c] += ones[c]
            total_z[c] += twos[c]


@_compiled
def _sums_of_three(v: Array, g: Array, x: Array, mean: Array, line: Line, sums: Array) -> None:
    """Fills the sums [3, C] of v, of v (x - mean) and of v h, for maps [P, C]."""
    scale, shift, low = line
    count, channels = x.shape
    ones, twos, threes = np.empty(channels, x.dtype), np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    sums[:] = 0
    for start in range(0, count, ROWS):
        end = min(count, start + ROWS)
        even = end - (end - start) % 2
        ones[:], twos[:], threes[:] = 0, 0, 0
        for p in range(start, even, 2):
            for c in range(channels):
                a, b = g[p, c], g[p + 1, c]
                a = a if scale[c] * x[p, c] + shift[c] > 0 else low * a
                b = b if scale[c] * x[p + 1, c] + shift[c] > 0 else low * b
                ones[c] += v[p, c] + v[p + 1, c]
                twos[c] += v[p, c] * (x[p, c] - mean[c]) + v[p + 1, c] * (x[p + 1, c] - mean[c])
                threes[c] += v[p, c] * a + v[p + 1, c] * b
        for p in range(even, end):
            for c in range(channels):
                a = g[p, c]
                a = a if scale[c] * x[p, c] + shift[c] > 0 else low * a
                ones[c] += v[p, c]
                twos[c] += v[p, c] * (x[p, c] - mean[c])
                threes[c] += v[p, c] * a
        for c in range(channels):
            sums[0, c] += ones[c]
            sums[1, c] += twos[c]
            sums[2, c] += threes[c]


@_compiled
def _pooled_sums_of_three(v: Array, g: Array, x: Array, mean: Array, line: Line, windows: Windows, sums: Array) -> None:
    """The same for maps that are pooled."""
    firsts, rest, width = windows
    one = x.dtype.type(1)
    channels = x.shape[1]
    ones, twos, threes = np.empty(channels, x.dtype), np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    sums[:] = 0
    across = max(1, width // 2)
    step = max(1, ROWS // across) * across
    for start in range(0, len(g), step):
        ones[:], twos[:], threes[:] = 0, 0, 0
        for place in range(start, min(len(g), start + step)):
            p = firsts[place]
            q = p + width
            for c in range(channels):
                i, j, k, m = x[p, c], x[p + 1, c], x[q, c], x[q + 1, c]
                vi, vj, vk, vm = v[p, c], v[p + 1, c], v[q, c], v[q + 1, c]
                a, b, d, e = _factors(x, p, q, c, line, one)
                threes[c] += g[place, c] * ((a * vi + b * vj) + (d * vk + e * vm))
                i, j, k, m = i - mean[c], j - mean[c], k - mean[c], m - mean[c]
                ones[c] += (vi + vj) + (vk + vm)
                twos[c] += (vi * i + vj * j) + (vk * k + vm * m)
        for c in range(channels):
            sums[0, c] += ones[c]
            sums[1, c] += twos[c]
            sums[2, c] += threes[c]
    for picture in range(len(rest)):
        ones[:], twos[:] = 0, 0
        for k in range(rest.shape[1]):
            p = rest[picture, k]
            for c in range(channels):
                ones[c] += v[p, c]
                twos[c] += v[p, c] * (x[p, c] - mean[c])
        for c in range(channels):
            sums[0, c] += ones[c]
            sums[1, c] += twos[c]
