"""Quadratic losses of several families over shared weights: what weightings are tested on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metamtl.config.library import Library
from metamtl.multitask.base import Weighting
from metamtl.registry import build

OPTIONS = Library.load().groups["weighting"]
WEIGHTINGS = sorted(OPTIONS)
SWING = 0.2


def weighting_of(name: str, kinds: Sequence[str], seed: int = 0, **options: Any) -> Weighting:
    """The option `name` for families of these kinds, in float64."""
    raw = OPTIONS[name].raw
    families = {f"family{number}": kind for number, kind in enumerate(kinds)}
    found: Weighting = build("weighting", {**raw, **options}, families=families)
    found.seed = seed
    return found.double()


class Bowls:
    """Loss i is height_i + steepness_i ||theta - centre_i||^2 / 2; a `Probe` of itself.

    The centres swing with the step, by `SWING` of their place, as the examples of an update are others at every step.
    """

    def __init__(
        self, centres: Sequence[Sequence[float]], steepness: Sequence[float] | None = None, height: float = 0.1
    ) -> None:
        self.centres = torch.tensor(centres, dtype=torch.float64)
        self.steepness = torch.tensor(steepness or [1.0] * len(centres), dtype=torch.float64)
        self.height = height * self.steepness
        self.weights = torch.zeros_like(self.centres[0])

    def at(self, weights: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Gradients [F, P] and losses [F] of a step."""
        away = weights - self.centres * (1 + SWING * math.sin(step))
        return self.steepness[:, None] * away, self.height + self.steepness * away.square().sum(1) / 2

    def __call__(self, change: Tensor, step: int, only: int | None = None) -> tuple[Tensor, Tensor]:
        gradients, losses = self.at(self.weights.to(change) + change, step)
        chosen = slice(None) if only is None else slice(only, only + 1)
        return gradients[chosen].to(change), losses[chosen].to(change)

    def descend(self, weighting: Weighting, steps: range, rate: float = 0.05) -> list[Tensor]:
        """Plain descent of the shared weights and of what the weighting learns; what families weigh in each step."""
        weighting.probe = self
        factors = []
        for step in steps:
            update = weighting.combine(*self.at(self.weights, step), step)
            self.weights = self.weights - rate * update.shared
            with torch.no_grad():
                for name, slope in update.own.items():
                    weighting.get_parameter(name).sub_(rate * slope)
            factors.append(update.shares)
        return factors
