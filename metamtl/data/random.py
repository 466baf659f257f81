"""Random numbers as a pure function of (key, counters), so that episode i needs no episode before it.

Salmon, Moraes, Dror & Shaw (2011), Parallel random numbers: as easy as 1, 2, 3, SC '11, for the idea; the
mixing function is SplitMix64's: Steele, Lea & Flood (2014), Fast splittable pseudorandom number generators,
OOPSLA '14. Everything is vectorised: a numpy Generator for each episode would cost more than the episode
itself.

Keys and counters broadcast against one another. The result of `bits` is itself an array of keys.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metamtl.data.identity import digest

Keys = NDArray[np.uint64]
Key = int | Keys

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_LOW_HALF = np.uint64(0xFFFFFFFF)


def key_of(*parts: object) -> int:
    """A 64-bit key for anything JSON can say."""
    return int(digest(*parts)[:16], 16)


def bits(key: Key, *counters: ArrayLike) -> Keys:
    """64 random bits for each element of the broadcast `key` and integer `counters`; their order matters."""
    state: Any = np.asarray(key, dtype=np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2 ** 64 is the point
        for counter in counters:
            state = _mix(state + (_unsigned(counter) + np.uint64(1)) * _GAMMA)
    return np.asarray(state, dtype=np.uint64)


def integers(below: ArrayLike, key: Key, *counters: ArrayLike) -> NDArray[np.int64]:
    """Uniform integers in [0, below), bias under 2 ** -32; `below` < 2 ** 32 broadcasts as counters do."""
    random = bits(key, *counters)
    bound = _unsigned(below)
    # the high word of the 128-bit product random * bound, from its 32-bit halves
    low = ((random & _LOW_HALF) * bound) >> np.uint64(32)
    high = ((random >> np.uint64(32)) * bound + low) >> np.uint64(32)
    return np.asarray(high, dtype=np.int64)


def uniform(key: Key, *counters: ArrayLike) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) with 53 random bits."""
    return np.asarray((bits(key, *counters) >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


def normal(key: Key, radius: int, angle: int, *counters: ArrayLike) -> NDArray[np.float64]:
    """Normal numbers of deviation 1 (Box & Muller 1958), of the uniform ones that `radius` and `angle` count apart."""
    lengths = np.sqrt(-2 * np.log1p(-uniform(key, radius, *counters)))
    return np.asarray(lengths * np.cos(2 * np.pi * uniform(key, angle, *counters)), dtype=np.float64)


def within(ends: tuple[float, float], fraction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a fraction of the way from one end to the other leads."""
    return ends[0] + (ends[1] - ends[0]) * fraction


def distinct(below: ArrayLike, count: int, keys: Keys) -> NDArray[np.int64]:
    """For each row, `count` distinct integers in [0, below); all ordered choices are equally likely.

    `below` (an integer or an array) and `keys` broadcast to [...]; the result is [..., count]. The set is
    Floyd's (Bentley & Floyd 1987, Programming pearls: a sample of brilliance, CACM 30), its order a sort by
    random bits. Raises ValueError where fewer than `count` integers lie below.
    """
    limit, row_keys = np.broadcast_arrays(np.asarray(below, dtype=np.int64), np.asarray(keys, dtype=np.uint64))
    if limit.size and limit.min() < count:
        raise ValueError(f"{count} distinct integers were asked for, below {limit.min()}")
    top = limit[..., None] - count + np.arange(count)  # Floyd's j: n - m, ..., n - 1
    chosen = integers(top + 1, row_keys[..., None], np.arange(count))
    for i in range(1, count):
        taken = (chosen[..., :i] == chosen[..., i : i + 1]).any(axis=-1)
        np.copyto(chosen[..., i], top[..., i], where=taken)
    order = np.argsort(bits(row_keys[..., None], np.arange(count, 2 * count)), axis=-1, kind="stable")
    return np.take_along_axis(chosen, order, axis=-1)


def permutation(size: int, key: Key, *counters: ArrayLike) -> NDArray[np.int64]:
    """A random order of range(`size`) for one key (a scalar, as are the counters)."""
    return np.argsort(bits(bits(key, *counters), np.arange(size)), kind="stable").astype(np.int64)


def in_epochs(items: NDArray[np.int64], size: int, step: int, key: int) -> NDArray[np.int64]:
    """The part [size] of `items` that step `step` takes, in a fresh order each epoch."""
    epoch, place = np.divmod(np.arange(step * size, (step + 1) * size), len(items))
    orders = {int(one): permutation(len(items), key, int(one)) for one in np.unique(epoch)}
    chosen: NDArray[np.int64] = items[[orders[int(one)][at] for one, at in zip(epoch, place, strict=True)]]
    return chosen


def _unsigned(value: ArrayLike) -> Any:
    return np.asarray(value, dtype=np.int64).astype(np.uint64)


def _mix(state: Any) -> Any:
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))
