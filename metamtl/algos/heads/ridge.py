"""Ridge regression in closed form: Bertinetto, Henriques, Torr & Vedaldi (2019), equations 4 and 6."""

from __future__ import annotations

import torch
from torch import Tensor


def ridge(x: Tensor, y: Tensor, penalty: Tensor) -> Tensor:
    """W [D, ways] that minimises |X W - Y|^2 + penalty |W|^2, for features x [S, D] and targets y [S, ways].

    With fewer examples than features it is X' (X X' + penalty I)^-1 Y, by Woodbury's identity, so that the system to
    solve has the smaller side.
    """
    examples, features = x.shape
    weights: Tensor
    if examples < features:
        weights = x.T @ torch.linalg.solve(x @ x.T + penalty * _identity(examples, x), y)
    else:
        weights = torch.linalg.solve(x.T @ x + penalty * _identity(features, x), x.T @ y)
    return weights


def _identity(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)
