"""Rectifiers whose second derivative is nothing, where torch's own makes maps of zeros and adds them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.backbones.vectorised import OfTasks


class Rectify(OfTasks):
    """x where it is positive and `slope` times x elsewhere, of any shape."""

    @staticmethod
    def forward(x: Tensor, slope: float) -> Tensor:
        """The rectified values."""
        return F.leaky_relu(x, slope) if slope else F.relu(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keeps the output, whose signs are those of x."""
        ctx.slope = inputs[1]
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        """The slopes of x: linear in those of the outputs, and constant in x but at zero."""
        signs = ctx.saved_tensors[0].detach()
        if ctx.slope:
            return torch.ops.aten.leaky_relu_backward(slopes[0], signs, ctx.slope, True), None
        return torch.ops.aten.threshold_backward(slopes[0], signs, 0), None


def rectified(input: Tensor, inplace: bool = False) -> Tensor | None:  # these are relu's own names
    """`relu` of one task's maps; None for vectors, and in place."""
    return None if inplace or _are_vectors(input) else _rectified(input, 0.0)


def leaky_rectified(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor | None:
    """`leaky_relu` of one task's maps; None for vectors, in place, and for slopes that do not keep the signs."""
    return None if inplace or negative_slope <= 0 or _are_vectors(input) else _rectified(input, negative_slope)


def _are_vectors(x: Tensor) -> bool:
    """Whether x is [N, features]: so small that a call of an operator costs more than the zeros (measured)."""
    return x.dim() < 3


def _rectified(x: Tensor, slope: float) -> Tensor:
    y: Tensor = Rectify.of(x[None], slope)
    return y.squeeze(0)
