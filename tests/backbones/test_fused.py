"""Batch normalisation and its tail by compiled kernels: derivatives, digits, and when they are left to torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from metamtl.backbones import fused
from metamtl.backbones.batch_normalise import BatchNormalise
from metamtl.backbones.norm import Normalise
from metamtl.backbones.tail import NO_TAIL, Tail
from tests.backbones.test_batch_kernels import EPSILON, SHAPES, distance, maps

pytestmark = pytest.mark.skipif(not fused.available(), reason="numba is not installed")
Slopes = tuple[Tensor, ...]
TAILS = [NO_TAIL, Tail(low=0.0), Tail(low=0.1), Tail(pool=2), Tail(pool=2, low=0.0), Tail(pool=2, low=0.1)]


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def normalised(pixels: Tensor, weight: Tensor, bias: Tensor, tail: Tail = NO_TAIL) -> Tensor:
    """Of pixels [T, N, H, W, C], as maps whose channels lie last; then the tail."""
    y: Tensor = BatchNormalise.of(pixels.permute(0, 1, 4, 2, 3), weight, bias, EPSILON, tail)[0]
    return y


def slopes(y: Tensor, *inputs: Tensor) -> Slopes:
    """First derivatives, then the second ones of a function of them."""
    first = torch.autograd.grad(y.pow(3).sum() + y.cos().sum(), inputs, create_graph=True)
    return *first, *torch.autograd.grad(torch.stack([g.pow(2).sum() for g in first]).sum(), inputs)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the kernels called."""
    calls: list[str] = []

    def counted(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*given: Tensor, **named: object) -> object:
            calls.append(name)
            return function(*given, **named)

        return call

    for name in ("normalise", "normalise_gradient", "normalise_second"):
        monkeypatch.setattr(fused, name, counted(name, getattr(fused, name)))
    return calls


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize(
    "shape", [(2, 4, 3, 2, 3), (3, 1, 5, 5, 2), (1, 5, 7, 6, 17), (2, 3, 2, 19, 4), (1, 9, 12, 8, 3)]
)
def test_derivatives_are_the_written_ones(shape: tuple[int, ...], tail: Tail, used: list[str]) -> None:
    torch.manual_seed(0)
    x, weight, bias = drawn(*shape), drawn(shape[0], shape[-1]), drawn(shape[0], shape[-1])
    with fused.fused(True):
        y = normalised(x, weight, bias, tail)
        found = y, *slopes(y, x, weight, bias)
    assert set(used) == {"normalise", "normalise_gradient", "normalise_second"}
    each = [
        tail.outputs(Normalise.apply(one.permute(0, 3, 1, 2), w, b, EPSILON)[0])  # type: ignore[no-untyped-call]
        for one, w, b in zip(x, weight, bias, strict=True)
    ]
    y = torch.stack(each)
    for one, wanted in zip(found, (y, *slopes(y, x, weight, bias)), strict=True):
        torch.testing.assert_close(one, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(2, 5, 1, 1, 4), (2, 3, 1, 6, 2)])
def test_maps_of_one_row_are_rectified(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, weight, bias = drawn(*shape), drawn(shape[0], shape[-1]), drawn(shape[0], shape[-1])
    results = []
    for on in (True, False):
        with fused.fused(on):
            y = normalised(x, weight, bias, Tail(low=0.0))
            results.append((y, *slopes(y, x, weight, bias)))
    for one, wanted in zip(*results, strict=True):
        torch.testing.assert_close(one, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("tail", [NO_TAIL, Tail(pool=2, low=0.1)])
def test_derivatives_are_those_of_finite_differences(tail: Tail, on: bool, used: list[str]) -> None:
    torch.manual_seed(0)
    inputs = drawn(2, 2, 3, 3, 2), drawn(2, 2), drawn(2, 2)

    def outputs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return normalised(x, weight, bias, tail)

    def slope(*inputs: Tensor) -> Slopes:
        return torch.autograd.grad(outputs(*inputs).pow(3).sum(), inputs, create_graph=True)

    with fused.fused(on):
        assert torch.autograd.gradcheck(outputs, inputs)
        assert torch.autograd.gradgradcheck(outputs, inputs)
        assert torch.autograd.gradgradcheck(slope, inputs)  # the third is left to the written form
    assert set(used) == ({"normalise", "normalise_gradient", "normalise_second"} if on else set())


def test_the_first_of_equal_values_is_pooled() -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 2, (2, 3, 6, 6, 2)).double().requires_grad_()
    rows = torch.ones(2, 2, dtype=torch.float64), -torch.ones(2, 2, dtype=torch.float64)
    found = []
    for on in (True, False):
        with fused.fused(on):
            y = normalised(x, rows[0], -rows[0], Tail(pool=2))
            found.append(torch.autograd.grad(y.pow(3).sum(), x)[0])
            found.append(torch.autograd.grad(normalised(x, rows[1], rows[0], Tail(pool=2)).pow(3).sum(), x)[0])
    torch.testing.assert_close(found[:2], found[2:], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("shape", "tail"),
    [(shape, tail) for shape in SHAPES for tail in (NO_TAIL, Tail(pool=2)) if min(shape[2:]) >= tail.pool],
)
def test_single_precision_is_near_float64(shape: tuple[int, ...], tail: Tail) -> None:
    x = maps(shape)
    channels = shape[1]
    other = maps(shape, seed=1)
    g, v = tail.outputs(x + other) * 1e-3, 2 * other - x  # whose product does not vanish beside its parts
    rows = torch.linspace(0.5, 2, channels), torch.linspace(-1, 1, channels), torch.linspace(-1, 2, channels)

    def every(dtype: torch.dtype) -> Slopes:
        own_x, own_g, own_v = (one.to(dtype)[None] for one in (x, g, v))
        weight, bias, v_weight = (row.to(dtype)[None] for row in rows)
        y, mean, r = fused.normalise(own_x, weight, bias, epsilon=EPSILON, tail=tail)
        given = own_g, own_x, weight, bias, mean, r
        first = fused.normalise_gradient(*given, tail=tail)
        second = fused.normalise_second((own_v, v_weight, bias), *given, *first[1:], tail=tail)
        return y, mean, r, *first, *second

    wide = x.double().contiguous()
    var, mean = torch.var_mean(wide, (0, 2, 3), correction=0)
    exact = every(torch.float64)
    assert distance(exact[1], mean[None]) < 1e-12
    assert distance(exact[2], torch.rsqrt(var + EPSILON)[None]) < 1e-12
    assert all(distance(one, wanted) < 1e-6 for one, wanted in zip(every(torch.float32), exact, strict=True))


def test_variance_of_values_far_from_zero() -> None:
    torch.manual_seed(0)
    x = (torch.randn(1, 9, 4, 14, 14) + 1000).contiguous(memory_format=torch.channels_last_3d)
    x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    x[:, :3] -= 900  # blocks of one task whose means differ
    var = x.double().var((1, 3, 4), correction=0)
    _, _, r = fused.normalise(x, torch.ones(1, 4), torch.zeros(1, 4), epsilon=EPSILON, tail=NO_TAIL)
    assert distance(r, torch.rsqrt(var + EPSILON)) < 1e-6


@pytest.mark.parametrize("tail", [NO_TAIL, Tail(pool=2, low=0.0)])
def test_a_task_has_the_same_bits_alone(tail: Tail) -> None:
    x = torch.stack([maps((6, 8, 7, 7), seed).permute(0, 2, 3, 1) for seed in range(3)]).permute(0, 1, 4, 2, 3)
    weight, bias = torch.rand(3, 8), torch.randn(3, 8)
    together = fused.normalise(x, weight, bias, epsilon=EPSILON, tail=tail)
    for task in range(3):
        one = slice(task, task + 1)
        alone = fused.normalise(x[one], weight[one], bias[one], epsilon=EPSILON, tail=tail)
        assert all(torch.equal(a[one], b) for a, b in zip(together, alone, strict=True))


def test_what_the_kernels_do_not_serve() -> None:
    x = maps((4, 3, 5, 5))[None]
    assert not fused.serves(x)  # unless an engine says so
    with fused.fused(True):
        assert fused.serves(x, x.clone())
        assert not fused.serves(x.contiguous())
        assert not fused.serves(x.bfloat16())
        assert not fused.serves(x, x.double())
        assert not fused.serves(x.expand(2, *x.shape[1:]))
        assert not fused.serves(x[..., 0, 0])
        assert not fused.serves(x[:, :0])
        with FlopCounterMode(display=False):  # a mode that sees every operator of torch's, as recordings do
            assert not fused.serves(x)

        def seen(one: Tensor) -> Tensor:
            assert not fused.serves(one)
            return one.sum()

        torch.vmap(seen)(x[None])
        torch.func.grad(seen)(x)


@pytest.mark.slow  # it compiles all kernels anew
def test_a_full_disk_for_what_is_compiled_stops_nothing(tmp_path: Path) -> None:
    script = """
import resource, torch
from metamtl.backbones import fused
from metamtl.backbones.tail import NO_TAIL

assert fused.available()
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
x = torch.arange(16.0).view(1, 2, 1, 4, 2).permute(0, 1, 4, 2, 3)
rows = torch.ones(1, 2)
given = 0 * x, x, *[rows] * 4, *[0 * rows] * 2
on_g, _, _ = fused.normalise_second((x, 0 * rows, 0 * rows), *given, tail=NO_TAIL)
assert on_g.isfinite().all() and on_g.any()
"""
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}, check=True)
    assert not list(tmp_path.rglob("*.nbc"))


def test_numba_is_imported_by_nothing_that_does_not_need_it() -> None:
    script = "import sys, metamtl.build, metamtl.engine.tasks; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
