"""Rectifiers against torch's own, with three derivatives, and what they no longer cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.backbones.vectorised import vectorised
from metamtl.engine.operators import Operators
from tests.engine.derivatives import derivatives, drawn

OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "torch.relu": torch.relu,
    "method": Tensor.relu,
    "module": nn.ReLU(),
    "leaky": nn.LeakyReLU(0.1),
    "default": F.leaky_relu,
    "negative": nn.LeakyReLU(-0.5),
    "in-place": lambda x: F.relu(x.clone(), inplace=True),
}
by_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)


@pytest.mark.parametrize("how", ["alone", "engine"])
@by_operator
def test_derivatives_are_torchs(operator: Callable[[Tensor], Tensor], how: str) -> None:
    x = drawn(3, 2, 2, 2)  # vectors are left to torch
    x[0, 0, 0] = 0.0

    def task(x: Tensor, number: Tensor) -> Tensor:
        with vectorised(number), Operators():
            return operator(x)

    def found(x: Tensor) -> Tensor:
        if how == "engine":
            return torch.vmap(task)(x, torch.arange(3))
        with Operators():
            return operator(x)

    for own, torchs in zip(derivatives(found, x), derivatives(operator, x), strict=True):
        torch.testing.assert_close(own, torchs, rtol=1e-12, atol=1e-12)


def test_no_zeros_are_made_for_the_second_derivative() -> None:
    """Torch's own adds a map of zeros for what its slope changes with x."""

    def zeros(operator: Callable[[Tensor], Tensor]) -> int:
        x = drawn(2, 3, 2).requires_grad_()
        (slope,) = torch.autograd.grad(operator(x.exp()).square().sum(), x, create_graph=True)
        with torch.profiler.profile() as profile:
            torch.autograd.grad(slope.sum(), x)
        return sum(event.count for event in profile.key_averages() if event.key == "aten::zeros_like")

    with Operators():
        own = zeros(F.relu)
    assert own < zeros(F.relu)
