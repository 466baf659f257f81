"""Batch normalisation by the native kernels has derivatives of every order, alone and over tasks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from metamtl.backbones.batch_normalise import BatchNormalise
from metamtl.backbones.norm import BatchNorm, Normalise
from metamtl.backbones.tail import NO_TAIL

EPSILON = 1e-5


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def native(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y: Tensor = BatchNormalise.apply(x[None], weight[None], bias[None], EPSILON, NO_TAIL)[0]  # type: ignore[no-untyped-call]
    return y[0]


@pytest.mark.parametrize("shape", [(4, 3, 3, 2), (5, 3)])
def test_first_and_second_derivative(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    inputs = drawn(*shape), drawn(3), drawn(3)
    assert torch.autograd.gradcheck(native, inputs)
    assert torch.autograd.gradgradcheck(native, inputs)


def test_third_derivative() -> None:
    torch.manual_seed(0)

    def slope(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(native(x, weight, bias).pow(3).sum(), (x, weight, bias), create_graph=True)

    assert torch.autograd.gradgradcheck(slope, (drawn(4, 2, 3), drawn(2), drawn(2)))


@pytest.mark.parametrize("shared", [True, False])
def test_tasks_are_normalised_apart(shared: bool) -> None:
    torch.manual_seed(0)
    x, weight, bias = drawn(2, 4, 3, 5), drawn(2, 3), drawn(2, 3)
    if shared:
        weight, bias = weight[0], bias[0]
    dims = (0, None, None) if shared else (0, 0, 0)
    found = torch.vmap(native, in_dims=dims)(x, weight, bias)
    for task in range(2):
        w, b = (weight, bias) if shared else (weight[task], bias[task])
        wanted = Normalise.apply(x[task], w, b, EPSILON)[0]  # type: ignore[no-untyped-call]
        torch.testing.assert_close(found[task], wanted, rtol=1e-12, atol=1e-12)


def test_torchs_compiler_takes_it() -> None:
    torch.manual_seed(0)
    layer, x = BatchNorm(3).double(), drawn(4, 3, 2, 2)

    def slope(layer: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.autograd.grad(layer(x).pow(3).sum(), x)[0]

    torch.testing.assert_close(slope(torch.compile(layer, backend="eager")), slope(layer), rtol=1e-12, atol=1e-12)
