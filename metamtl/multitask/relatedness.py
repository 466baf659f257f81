"""How families are related: what a step for one does to the others' losses, and how their gradients lie.

Fifty et al. (2021), Efficiently Identifying Task Groupings for Multi-Task Learning (TAG), NeurIPS, equation 1.
"""

from __future__ import annotations

from collections.abc import Iterator

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


def best_groups(affinity: Tensor, count: int) -> list[list[int]]:
    """The division of F families into at most `count` groups with the highest affinity onto a family in its group.

    The mean over families of the mean affinity of the others in the group onto it, zero for a family alone (section
    3.2, with disjoint groups). Every division is tried: of 10 families into 3 groups there are 9842.
    """
    divisions = list(_divisions(len(affinity), count))
    return max(divisions, key=lambda groups: sum(_onto_each(affinity, group) for group in groups))


def _onto_each(affinity: Tensor, group: list[int]) -> float:
    if len(group) == 1:
        return 0.0
    within = affinity[group][:, group]
    return float((within.sum() - within.diagonal().sum()) / (len(group) - 1))


def _divisions(items: int, count: int) -> Iterator[list[list[int]]]:
    """All divisions of range(`items`) into at most `count` groups."""
    if items == 0:
        yield []
        return
    for groups in _divisions(items - 1, count):
        for place in range(len(groups)):
            yield [[*group, items - 1] if place == at else group for at, group in enumerate(groups)]
        if len(groups) < count:
            yield [*groups, [items - 1]]
