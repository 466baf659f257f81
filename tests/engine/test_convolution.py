"""Convolutions of many tasks against torch's own, with three derivatives; and what is left to torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.backbones.vectorised import vectorised
from metamtl.engine import convolution
from metamtl.engine.operators import Operators
from tests.engine.derivatives import derivatives, drawn

TASKS = 3
Pair = tuple[int, int]
# images a task, channels in and out, sides, kernel, stride, padding
SHAPES: tuple[tuple[int, int, int, Pair, Pair, Pair, Pair], ...] = (
    (2, 3, 4, (6, 6), (3, 3), (1, 1), (1, 1)),
    (3, 1, 2, (7, 5), (3, 2), (2, 3), (0, 2)),
    (1, 2, 1, (8, 4), (1, 4), (3, 1), (2, 0)),
    (2, 2, 3, (5, 6), (1, 1), (3, 2), (0, 0)),
    (2, 1, 1, (4, 4), (2, 3), (3, 3), (3, 1)),
)


@pytest.mark.parametrize("small", [0.0, float("inf")], ids=["kernels", "products"])
@pytest.mark.parametrize("shared", ["nothing", "weights", "images"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tasks_together_have_torchs_derivatives(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[Any, ...], shared: str, small: float
) -> None:
    monkeypatch.setattr(convolution, "KERNEL_CALL", small)
    count, inputs, outputs, sides, kernel, stride, padding = shape
    x, w = drawn(TASKS, count, inputs, *sides), drawn(TASKS, outputs, inputs, *kernel, seed=1)
    dims = 0 if shared != "images" else None, 0 if shared != "weights" else None
    x, w = x if dims[0] == 0 else x[0], w if dims[1] == 0 else w[0]

    def task(x: Tensor, w: Tensor, number: Tensor) -> Tensor:
        with vectorised(number), Operators():
            return F.conv2d(x, w, None, stride, padding)

    def together(x: Tensor, w: Tensor) -> Tensor:
        return torch.vmap(task, (*dims, 0))(x, w, torch.arange(TASKS))

    def alone(x: Tensor, w: Tensor) -> Tensor:
        pairs = zip(x if dims[0] == 0 else [x] * TASKS, w if dims[1] == 0 else [w] * TASKS, strict=True)
        return torch.stack([F.conv2d(own, weights, None, stride, padding) for own, weights in pairs])

    for found, wanted in zip(derivatives(together, x, w), derivatives(alone, x, w), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def convolved(how: str, x: Tensor, w: Tensor, *options: Any) -> Tensor:
    """By the engine's operator, of a task alone or of the second of two under its `vmap`."""

    def task(x: Tensor, w: Tensor, number: Tensor) -> Tensor:
        with vectorised(number), Operators():
            return F.conv2d(x, w, *options)

    if how == "engine":
        return torch.vmap(task)(torch.stack([x] * 2), torch.stack([w] * 2), torch.arange(2))[1]
    with Operators():
        return F.conv2d(x, w, *options)


X, W = drawn(2, 3, 6, 6), drawn(4, 3, 3, 3, seed=1)


@pytest.mark.parametrize("how", ["alone", "engine"])
@pytest.mark.parametrize(
    "arguments",
    [
        (X, W, None, (2,), (1,)),
        (X, W, None, np.int64(2), np.int64(1)),
        (X, W, drawn(4, seed=2), 2, "valid"),
        (X, W, drawn(4, seed=2), 1, 1, 2),
        (X, drawn(3, 1, 3, 3), None, 1, 1, 1, 3),
        (X[:0], W),
        (X.mT, W),
        (X[:, :1].expand(-1, 3, -1, -1), W),
        (X[0], W),
    ],
    ids=[
        "one-number",
        "numpy",
        "named-padding",
        "dilated",
        "grouped",
        "no-images",
        "not-contiguous",
        "expanded",
        "one-image",
    ],
)
def test_whatever_torch_takes_is_taken(arguments: tuple[Any, ...], how: str) -> None:
    found = convolved(how, *arguments)
    torch.testing.assert_close(found, F.conv2d(*arguments), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("how", ["alone", "engine"])
def test_complex_numbers_have_torchs_derivative(how: str) -> None:
    x, w = torch.complex(X, X.flip(0)), torch.complex(W, W.flip(0))

    def slope(function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        point = w.clone().requires_grad_()
        return torch.autograd.grad(function(x, point).abs().sum(), point)[0]

    torch.testing.assert_close(slope(lambda x, w: convolved(how, x, w)), slope(F.conv2d))


@pytest.mark.parametrize("how", ["alone", "engine"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((X, drawn(4, 3, 9, 9)), "Kernel size can't be greater"),
        ((X, W, None, 0), "non-positive stride"),
        ((X, W, None, 1, -1), "negative padding"),
        ((X, W, drawn(4).float()), "bias"),
        ((X, drawn(4, 2, 3, 3)), "channels"),
    ],
    ids=["kernel", "stride", "padding", "bias", "channels"],
)
def test_what_torch_refuses_is_refused_in_its_words(arguments: tuple[Any, ...], said: str, how: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        convolved(how, *arguments)


@pytest.mark.parametrize("positions", [1, 3, 4, 10, 11])
def test_sums_in_parts_are_sums(positions: int) -> None:
    patches, g = drawn(2, 10, 6), drawn(2, 10, 3, seed=1)
    assert torch.allclose(convolution._in_parts(patches, g, positions), patches.mT @ g, rtol=1e-12)
