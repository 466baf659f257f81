"""Meta-SGD: the initial weights and, for each of them, its own inner learning rate are learned.

Li, Zhou, Chen & Li (2017), Meta-SGD: Learning to Learn Quickly for Few-Shot Learning, arXiv:1707.09835, equation 2:
theta' = theta - alpha o grad L(theta; support), with alpha as large as theta. A rate may become negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from metamtl.algos.descent import Descent
from metamtl.algos.named import Named
from metamtl.engine.inner import Weights
from metamtl.errors import UsageError
from metamtl.registry import register


@register("algo", "metasgd")
class MetaSGD(Descent):
    """Gradient steps at learned rates, drawn uniformly from [low, high] at first."""

    def __init__(self, *, initial_lr: Sequence[float], **options: Any) -> None:
        super().__init__(**options)
        if len(initial_lr) != 2 or initial_lr[0] > initial_lr[1]:
            raise UsageError(f"algo.initial_lr={list(initial_lr)}: must be [low, high] with low <= high.")
        low, high = initial_lr
        weights = self.weights()
        self.rates = Named({name: torch.empty_like(weights[name]).uniform_(low, high) for name in self.inner_names})

    def update(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """theta' = theta - alpha o grad L (equation 2)."""
        rates = self.rates.values()
        return {name: weight - rates[name] * gradients[name] for name, weight in weights.items()}
