"""Meta-Curvature: inner gradients are transformed by learned matrices before a step.

Park & Oliva (2019), Meta-Curvature, NeurIPS, section 3.1: theta' = theta - alpha MC(grad L), where MC multiplies a
convolution's gradient [C_out, C_in, height x width] by one learned matrix along each of its axes (equation 7), a
Kronecker-factored preconditioner. All matrices start as the identity, which is MAML.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metamtl.algos.maml import MAML
from metamtl.algos.named import Named
from metamtl.engine.inner import Weights
from metamtl.registry import register


@register("algo", "metacurvature")
class MetaCurvature(MAML):
    """MAML with a learned matrix for each axis of each weight."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        sizes = {name: _axes(self.weights()[name]).shape for name in self.inner_names}
        self.curvature = Named(
            {f"{name}.{axis}": torch.eye(size) for name, shape in sizes.items() for axis, size in enumerate(shape)}
        )

    def update(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """theta' = theta - alpha MC(grad L) (equation 6)."""
        matrices = self.curvature.values()
        return super().update(weights, {name: _transform(name, g, matrices) for name, g in gradients.items()}, step)


def _transform(name: str, gradient: Tensor, matrices: Weights) -> Tensor:
    """The products of a gradient with the matrix of each of its axes (equation 7)."""
    folded = _axes(gradient)
    for axis in range(folded.dim()):
        folded = torch.movedim(torch.tensordot(matrices[f"{name}.{axis}"], folded, ([1], [axis])), 0, axis)
    return folded.reshape(gradient.shape)


def _axes(weight: Tensor) -> Tensor:
    """A weight with the axes of its kernel taken together."""
    return weight.flatten(2) if weight.dim() > 2 else weight
