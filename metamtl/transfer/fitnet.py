"""Hints: the learner's features are drawn to the teacher's.

Romero et al. (2015), FitNets: Hints for Thin Deep Nets, ICLR, equation 3, without its regressor: both have features of
one size. The mean is over examples and features.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from metamtl.engine.network import Network
from metamtl.engine.terms import View
from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.transfer.teacher import Taught, TaughtTerm, features_of


class Hints(TaughtTerm):
    """The mean squared distance of features."""

    def value(self, view: View) -> Tensor:
        """The penalty []."""
        return F.mse_loss(features_of(view), self.taught(view.examples.x))


@register("transfer", "fitnet")
class FitNet(Taught):
    """Features of the last layer before the head."""

    def term(self) -> Hints:
        """The distance."""
        return Hints(self.weight)

    def refuse_unlike(self, network: Network, teacher: Network) -> None:
        """Features must be of one size."""
        if network.backbone.features != teacher.backbone.features:
            raise UsageError(
                f"transfer=fitnet compares features one by one: the source has {teacher.backbone.features} and the "
                f"target {network.backbone.features}: take transfer=rkd, which compares relations."
            )
