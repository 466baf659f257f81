"""Weightings that look at the angles between the families' gradients: weights from the Gramian G = J J^T [F, F].

The weights come from torchjd (Quinton & Rey, 2024, Jacobian Descent for Multi-Objective Optimization). Its
aggregators are not differentiable, and need not be: they see the outer gradients of a step.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metamtl.multitask.base import Combined, Weighting, by_loss_weights


class GramianWeighting(Weighting):
    """A weighting whose weights [F] follow from the inner products of the gradients.

    `scale` makes the weights of gradients that do not conflict sum to one, so that a step is as long as with equal
    weights.
    """

    def __init__(self, families: Sequence[str], scale: float = 1.0) -> None:
        super().__init__(families)
        self.scale = scale
        self.weights = self.weighting()

    @abstractmethod
    def weighting(self) -> Any:
        """torchjd's weighting, from a Gramian [F, F] to weights [F]."""

    def combine(self, gradients: Tensor, losses: Tensor, step: int) -> Combined:
        """The gradients summed with those weights."""
        with torch.random.fork_rng(devices=[]):  # some take the families in a random order
            torch.manual_seed(step)
            weights = self.scale * self.weights(gradients @ gradients.T)
        return by_loss_weights(weights.to(gradients), gradients)
