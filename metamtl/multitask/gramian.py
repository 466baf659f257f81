"""Weightings that look at the angles between the families' gradients: weights from the Gramian G = J J^T [F, F].

`pcgrad`, `imtl` and `aligned` are torchjd's (Quinton & Rey, 2024, Jacobian Descent for Multi-Objective Optimization);
`mgda` and `cagrad` are solved here (docs/architecture.md says why). None is differentiable, and none need be: they see
the outer gradients of a step.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from metamtl.multitask.base import Combined, Weighting


class GramianWeighting(Weighting):
    """A weighting whose weights [F] follow from the inner products of the gradients."""

    needs_two: ClassVar[bool] = True

    @abstractmethod
    def weights(self, gramian: Tensor) -> Tensor:
        """Weights [F] from a Gramian [F, F], both on the CPU; those of equal gradients sum to one.

        A step is then as long as with equal weights where nothing conflicts.
        """

    def combine(self, gradients: Tensor, losses: Tensor, step: int) -> Combined:
        """The gradients summed with those weights; what a family has alone descends on the mean of the losses.

        So the papers have it: they reconcile the gradients of what is shared, and leave the others as they are.
        """
        gramian = (gradients @ gradients.T).cpu()  # a few numbers, which take many small operations
        with torch.random.fork_rng(devices=[]):  # some take the families in a random order
            torch.manual_seed(self.random_seed(step))
            weights = self.weights(gramian)
        weights = weights.to(gradients)
        return Combined(weights @ gradients, torch.full_like(weights, 1 / len(weights)), weights=weights)
