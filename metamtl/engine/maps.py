"""What operators on maps share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Pair = tuple[int, int]  # of rows and of columns


def pair(value: Any) -> Pair:
    """What an option of one number or of two says."""
    if not isinstance(value, tuple | list):
        return value, value
    rows, columns = value if len(value) > 1 else value * 2
    return rows, columns


def unread(like: Tensor, shape: Sequence[int]) -> Tensor:
    """Maps [N, C, H, W] of whose values a kernel reads none; in the layout that it does not copy."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def pixels(maps: Tensor) -> Tensor:
    """Maps [T, N, C, H, W] as [T, N, H W, C]."""
    return maps.movedim(2, -1).flatten(2, 3)
