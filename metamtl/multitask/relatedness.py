"""How families are related: what a step for one does to the others' losses, and how their gradients lie.

Fifty et al. (2021), Efficiently Identifying Task Groupings for Multi-Task Learning (TAG), NeurIPS, equation 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metamtl.multitask.base import Probe


def affinities(gradients: Tensor, losses: Tensor, probe: Probe, rate: float, step: int) -> Tensor:
    """Z [F, F]: the share of loss j that a plain step of the shared weights at `rate` for family i takes away.

    Z_ij = 1 - L_j(theta - rate g_i) / L_j(theta), both on the examples of `step`; zero where loss j is zero. A negative
    value is harm.
    """
    after = torch.stack([probe(-rate * gradient, step)[1] for gradient in gradients])
    return torch.where(losses > 0, 1 - after / losses, 0.0)


def cosines(gradients: Tensor) -> Tensor:
    """The cosines [F, F] between gradients [F, P]; zero where one of them is."""
    lengths = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    units = torch.where(lengths > 0, gradients / lengths, 0.0)
    return units @ units.T
