"""Baseline++: supervised pre-training, then a new head for every task, both by cosine similarity.

Chen et al. (2019), A Closer Look at Few-shot Classification, ICLR, section 3.2 and figure 1c: a class's logit is the
cosine of a feature with the class's weights, scaled, which lowers the variance within classes. The weights are
normalised as in Salimans & Kingma (2016), Weight Normalization, so that each class has a length of its own, which is
learned as the authors' code has it; so is the scale from there.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.algos.baseline import Baseline, known
from metamtl.registry import register


def cosine_logits(directions: Tensor, lengths: Tensor, features: Tensor, scale: float) -> Tensor:
    """Logits [N, C]: the cosine of features [N, D] with directions [C, D], times lengths [C] and a scale."""
    return scale * lengths * (F.normalize(features, dim=1) @ F.normalize(directions, dim=1).T)


class CosineHead(nn.Module):
    """A layer of cosine similarities, each class with a direction [D] and a length."""

    def __init__(self, features: int, classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.directions = nn.Parameter(nn.Linear(features, classes).weight.detach())
        self.lengths = nn.Parameter(self.directions.detach().norm(dim=1))

    def forward(self, features: Tensor) -> Tensor:
        """Logits [N, classes] of features [N, D]."""
        return cosine_logits(self.directions, self.lengths, features, self.scale)


@register("algo", "baselinepp")
class BaselinePP(Baseline):
    """Baseline with cosine heads; `scale` null is 2 for up to 200 classes and 10 for more."""

    def __init__(self, *, scale: float | None, **options: Any) -> None:
        self.scale = scale
        super().__init__(**options)

    def classifier(self, features: int, classes: int) -> nn.Module:
        """The pre-training head."""
        return CosineHead(features, classes, self._scale(classes))

    def first_head(self, features: Tensor, targets: Tensor) -> Tensor:
        """A head [ways, D + 1], its last column the lengths.

        The authors start at random; here every class starts in the direction of the support set's mean, which prefers
        none, with the length that random weights would have.
        """
        length = 1 / math.sqrt(3)  # of nn.Linear's uniform weights, on average
        direction = length * F.normalize(targets.sum(1) @ features, dim=0)
        return torch.cat([direction, direction.new_full((1,), length)]).expand(targets.shape[1], -1)

    def slope(self, head: Tensor, features: Tensor, targets: Tensor) -> Tensor:
        """The gradient of the mean cross-entropy, in closed form (Salimans & Kingma 2016, equation 3)."""
        directions, lengths = head[:, :-1], head[:, -1:]
        error = self.error(head, features, targets) * self._scale(len(head)) / known(targets)
        unit, size = F.normalize(directions, dim=1), directions.norm(dim=1, keepdim=True)
        on_unit = error.T @ F.normalize(features, dim=1)
        on_length = (on_unit * unit).sum(1, keepdim=True)
        return torch.cat([lengths / size * (on_unit - on_length * unit), on_length], 1)

    def score(self, rule: Tensor, features: Tensor) -> Tensor:
        """Logits [Q, ways]."""
        return cosine_logits(rule[:, :-1], rule[:, -1], features, self._scale(len(rule)))

    def _scale(self, classes: int) -> float:
        if self.scale is not None:
            return self.scale
        return 2.0 if classes <= 200 else 10.0
