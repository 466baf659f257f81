"""Inputs that say nothing, to see what a backbone makes of a shape."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def blank_inputs(backbone: nn.Module, count: int, input_shape: tuple[int, ...]) -> Tensor:
    """Inputs [count, ...] of zeros, in the numbers of words where the backbone reads texts."""
    return torch.zeros(count, *input_shape, dtype=torch.long if hasattr(backbone, "of_words") else torch.float32)
