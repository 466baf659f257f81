"""How features are compared: squared Euclidean distance and cosine."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Distance = Literal["euclidean", "cosine"]


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances [N, M] between a [N, D] and b [M, D]."""
    return (a.square().sum(1, keepdim=True) - 2 * a @ b.T + b.square().sum(1)).clamp(min=0)


def similarity(distance: Distance, a: Tensor, b: Tensor) -> Tensor:
    """[N, M]: minus the squared Euclidean distance, or the cosine, of a [N, D] and b [M, D]."""
    if distance == "euclidean":
        return -squared_distance(a, b)
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T
