"""CORAL: source and target features are to have equal covariances.

Sun & Saenko (2016), Deep CORAL: Correlation Alignment for Deep Domain Adaptation, ECCV workshops, equation 1:
||C_s - C_t||^2 / 4 D^2 with the Frobenius norm.
"""

from __future__ import annotations

from torch import Tensor

from metamtl.data.family import Family
from metamtl.engine.network import Network
from metamtl.engine.terms import Term
from metamtl.registry import register
from metamtl.transfer.alignment import Alignment, Distance


class Correlation(Distance):
    """The distance of covariances."""

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        """The penalty [] of features [N, D] and [M, D]."""
        return (covariance(source) - covariance(target)).square().sum() / (4 * source.shape[1] ** 2)


def covariance(features: Tensor) -> Tensor:
    """The covariance [D, D] of features [N, D], divided by N - 1 (by one for a single example)."""
    centred = features - features.mean(0)
    return centred.T @ centred / max(1, len(features) - 1)


@register("transfer", "coral")
class CORAL(Alignment):
    """Features of the last layer before the head."""

    def penalties(self, network: Network, family: Family) -> list[Term]:
        """The distance."""
        return [Correlation(self.weight)]
