"""Random noise as a pure function of (seed, task, place), and the layers that use it.

A generator's state cannot be shared between a loop, a vmapped chunk and several processes. Here every random number
is a hash (the SplitMix64 finaliser, Steele, Lea & Flood 2014) of a key and a position, computed with tensor
operations: the key has a task axis under `vmap`, and every way of running the tasks draws the same noise.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GOLDEN = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_FIRST = -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
_SECOND = -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB


def _shift(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)  # logical: int64's own shift repeats the sign


def mix(key: Tensor, value: Tensor | int) -> Tensor:
    """A new int64 key from a key and a value, broadcast together."""
    if isinstance(value, int):  # made where the key is: a CUDA graph takes no copy from the processor's memory
        value = torch.full((), value, dtype=torch.int64, device=key.device)
    x = (key ^ (value.to(key.device) * _GOLDEN)) + _GOLDEN  # int64 arithmetic wraps around
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)


def uniform(key: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Numbers in [0, 1) of `shape` from one key []."""
    positions = torch.arange(math.prod(shape), device=key.device)
    return (_shift(mix(key, positions), 40).to(torch.float32) / 2**24).to(dtype).view(shape)


class DropBlock(nn.Module):
    """Drops squares of a feature map [N, C, H, W] and rescales the rest (Ghiasi, Lin & Le 2018).

    `noise` is the key of the pass; without one nothing is dropped.
    """

    def __init__(self, rate: float, block: int) -> None:
        super().__init__()
        self.rate, self.block = rate, block
        self.noise: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """X with squares of `block` pixels set to zero; the same shape and, in expectation, the same sum."""
        if self.noise is None or self.rate == 0:
            return x
        height, width = x.shape[-2:]
        block = min(self.block, height, width)
        centres = (height - block + 1) * (width - block + 1)
        chance = self.rate * height * width / (block**2 * centres)
        corner = torch.Size((*x.shape[:-2], height - block + 1, width - block + 1))
        wide = torch.promote_types(x.dtype, torch.float32)  # bfloat16 has no number for most chances and counts
        dropped = (uniform(self.noise, corner, wide) < chance).to(wide)
        dropped = F.max_pool2d(F.pad(dropped, [block - 1] * 4), block, stride=1)
        kept = 1 - dropped
        return x * (kept * (kept.numel() / kept.sum().clamp(min=1))).to(x.dtype)
