"""What networks and learners may do with the engine's operators as with torch's: change in place, and transform."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.backbones.norm import BatchNorm
from metamtl.backbones.vectorised import vectorised
from metamtl.engine import convolution
from metamtl.engine.operators import Operators
from tests.engine.derivatives import drawn

TASKS = 3
Function = Callable[[Tensor], Tensor]


KERNELS = drawn(4, 2, 3, 3, seed=1)
NORM = BatchNorm(2).double()
OPERATORS: dict[str, Function] = {
    "convolution": lambda x: F.conv2d(x, KERNELS),
    "normalisation": NORM,
    "pooling": lambda x: F.max_pool2d(x, 2),
    "rectifier": F.relu,
    "leaky": F.leaky_relu,
}
by_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
by_engine = pytest.mark.parametrize("how", ["loop", "vmap"])


def run(function: Function, x: Tensor, how: str) -> Tensor:
    """What the engine gives for all tasks."""

    def task(x: Tensor, number: Tensor) -> Tensor:
        with vectorised(number), Operators():
            return function(x)

    if how == "vmap":
        return torch.vmap(task)(x, torch.arange(len(x)))
    with Operators():
        return torch.stack([function(own) for own in x])


@by_engine
@pytest.mark.parametrize("small", [0.0, float("inf")], ids=["kernels", "products"])
@pytest.mark.parametrize("name", ["convolution", "normalisation", "pooling"])
def test_results_may_be_changed_in_place(monkeypatch: pytest.MonkeyPatch, name: str, small: float, how: str) -> None:
    monkeypatch.setattr(convolution, "KERNEL_CALL", small)
    x = drawn(TASKS, 2, 2, 6, 6).requires_grad_()

    def slope(change: Function) -> Tensor:
        return torch.autograd.grad(run(lambda x: change(OPERATORS[name](x)), x, how).square().sum(), x)[0]

    torch.testing.assert_close(slope(F.relu_), slope(F.relu))


@by_engine
def test_normalised_maps_with_channels_last_may_be_changed_in_place(how: str) -> None:
    """Of more positions than are summed at once."""
    x = drawn(TASKS, 4, 8, 8, 2).movedim(4, 2).requires_grad_()

    def slope(change: Function) -> Tensor:
        maps = run(lambda x: change(OPERATORS["normalisation"](x)), x, how)
        return torch.autograd.grad(maps.square().sum(), x)[0]

    torch.testing.assert_close(slope(F.relu_), slope(F.relu))


@by_engine
@by_operator
def test_a_learner_may_call_what_vjp_gave_it_later(operator: Function, how: str) -> None:
    x = drawn(TASKS, 2, 2, 6, 6)

    def slope(x: Tensor) -> Tensor:
        back: Callable[[Tensor], tuple[Tensor]] = torch.func.vjp(operator, x)[1]
        return back(operator(x))[0]

    point = x.clone().requires_grad_()
    wanted = torch.autograd.grad(torch.stack([operator(own) for own in point]).square().sum() / 2, point)[0]
    torch.testing.assert_close(run(slope, x, how), wanted)


@by_engine
@pytest.mark.parametrize("name", ["convolution", "pooling", "rectifier", "leaky"])
def test_a_learner_may_take_derivatives_forward(name: str, how: str) -> None:
    x = drawn(TASKS, 2, 2, 6, 6)

    def moved(x: Tensor) -> Tensor:
        found: Tensor = torch.func.jvp(OPERATORS[name], (x,), (x,))[1]
        return found

    wanted = torch.stack([torch.func.jvp(OPERATORS[name], (own,), (own,))[1] for own in x])
    torch.testing.assert_close(run(moved, x, how), wanted)


@by_operator
def test_slopes_may_be_taken_for_many_vectors_at_once(operator: Function) -> None:
    x = drawn(2, 2, 6, 6).requires_grad_()
    with Operators():
        y = operator(x)
    vectors = drawn(4, *y.shape)

    def slope(vector: Tensor) -> Tensor:
        return torch.autograd.grad(y, x, vector, retain_graph=True)[0]

    torch.testing.assert_close(torch.vmap(slope)(vectors), torch.stack([slope(vector) for vector in vectors]))


def test_what_is_no_tensor_is_refused_in_torchs_words() -> None:
    with Operators(), pytest.raises(TypeError, match="must be Tensor"):
        F.relu(1.0)  # type: ignore[arg-type]
