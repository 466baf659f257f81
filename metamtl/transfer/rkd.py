"""Relational distillation: distances and angles between examples are as the teacher sees them.

Park, Kim, Lu & Cho (2019), Relational Knowledge Distillation, CVPR, equations 4 to 9: Huber losses between distances
divided by their mean, and between the cosines of the angles of triples. Features may be of any size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.engine.terms import View
from metamtl.registry import register
from metamtl.transfer.teacher import Taught, TaughtTerm, features_of, whole

TINY = 1e-12  # under a root, so that it can be differentiated twice at zero


class Relations(TaughtTerm):
    """The Huber loss of distances and of angles, each with its weight."""

    def __init__(self, weight: float, distance: float, angle: float) -> None:
        super().__init__(weight)
        self.distance, self.angle = distance, angle

    def value(self, view: View) -> Tensor:
        """The penalty []."""
        own, theirs = whole(features_of(view)), self.taught(view.examples.x).detach()
        apart = F.smooth_l1_loss(distances(own), distances(theirs))
        return self.distance * apart + self.angle * F.smooth_l1_loss(angles(own), angles(theirs))


def distances(features: Tensor) -> Tensor:
    """Distances [N, N] of features [N, D], divided by the mean over pairs."""
    squares = (features.unsqueeze(0) - features.unsqueeze(1)).square().sum(2)
    found = squares.clamp(min=TINY).sqrt()
    count = len(features)
    return found / (found.sum() / max(1, count * (count - 1)))


def angles(features: Tensor) -> Tensor:
    """The cosine [N, N, N] of the angle at the first example between the other two."""
    apart = features.unsqueeze(0) - features.unsqueeze(1)
    unit = apart / apart.square().sum(2, keepdim=True).clamp(min=TINY).sqrt()
    return torch.bmm(unit, unit.transpose(1, 2))


@register("transfer", "rkd")
class RKD(Taught):
    """`distance` and `angle` weigh the two parts."""

    def __init__(self, *, weight: float, distance: float, angle: float) -> None:
        super().__init__(weight=weight)
        self.distance, self.angle = distance, angle

    def term(self) -> Relations:
        """Both parts."""
        return Relations(self.weight, self.distance, self.angle)
