"""What follows batch normalisation in a block: max-pooling and a rectifier, as one linear map by what is largest."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Tail(NamedTuple):
    """Max-pooling of windows of `pool` x `pool`, then values not above zero times `low`; as it is, nothing."""

    pool: int = 1
    low: float = 1.0

    def outputs(self, y: Tensor) -> Tensor:
        """Of maps y [N, C, H, W]."""
        if self.pool > 1:
            y = F.max_pool2d(y, self.pool)
        if self.low == 0:
            return F.relu(y)
        return y if self.low == 1 else F.leaky_relu(y, self.low)


NO_TAIL = Tail()


class Places:
    """The positions of maps y [T, N, C, H, W] that the outputs of a tail are taken from, each with its factor.

    What follows is linear in y by them, and they change with y nowhere but at ties and at zero.
    """

    def __init__(self, y: Tensor, tail: Tail) -> None:
        self.sides, y = y.shape[-2:], y.detach().flatten(0, 1)
        self.index: Tensor | None = None
        if tail.pool > 1:
            y, self.index = torch.ops.aten.max_pool2d_with_indices(y, [tail.pool, tail.pool])
        self.factor = torch.full_like(y, tail.low).masked_fill(y > 0, 1.0)

    def picked(self, h: Tensor) -> Tensor:
        """The outputs' changes [T, N, C, H', W'] by those of y."""
        found = h.flatten(0, 1)
        if self.index is not None:
            found = found.flatten(2).gather(2, self.index.flatten(2)).view_as(self.index)
        return (found * self.factor).view(*h.shape[:2], *self.factor.shape[1:])

    def spread(self, g: Tensor) -> Tensor:
        """The gradient of y [T, N, C, H, W] from that of the outputs."""
        found = g.flatten(0, 1) * self.factor
        if self.index is not None:
            places = found.new_zeros(*found.shape[:2], self.sides.numel())
            found = places.scatter(2, self.index.flatten(2), found.flatten(2))
        return found.view(*g.shape[:3], *self.sides)
