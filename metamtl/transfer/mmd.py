"""MMD: source and target features are to have equal means in a space of many kernels.

Gretton, Borgwardt, Rasch, Schoelkopf & Smola (2012), A Kernel Two-Sample Test, JMLR 13, equation 5 (biased), with the
mean of the Gaussian kernels of Long, Cao, Wang & Jordan (2015), Learning Transferable Features with Deep Adaptation
Networks, ICML: bandwidths 2^-2 to 2^2 times the mean squared distance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metamtl.data.family import Family
from metamtl.engine.network import Network
from metamtl.engine.terms import Term
from metamtl.registry import register
from metamtl.transfer.alignment import Alignment, Distance

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)


class Discrepancy(Distance):
    """The squared maximum mean discrepancy, never negative but for rounding."""

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        """The penalty [] of features [N, D] and [M, D]."""
        both = torch.cat([source, target])
        apart = (both.unsqueeze(0) - both.unsqueeze(1)).square().sum(2)
        width = apart.mean() + 1e-12
        kernel = torch.stack([torch.exp(-apart / (factor * width)) for factor in FACTORS]).mean(0)
        count = len(source)
        within = kernel[:count, :count].mean() + kernel[count:, count:].mean()
        return within - 2 * kernel[:count, count:].mean()


@register("transfer", "mmd")
class MMD(Alignment):
    """Features of the last layer before the head."""

    def penalties(self, network: Network, family: Family) -> list[Term]:
        """The distance."""
        return [Discrepancy(self.weight)]
