"""Batch normalisation in single precision is as near to float64 for many positions as for few."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metamtl.backbones.batch_kernels import normalise, normalise_gradient
from metamtl.backbones.norm import BatchNorm

EPSILON = 1e-5
SHAPES = [(75, 8, 84, 84), (75, 16, 14, 14), (5, 8, 14, 14), (2, 8, 84, 84), (40, 8, 1, 30), (25, 8, 2, 2)]


def distance(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


def maps(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """As a convolution makes them: off zero, and differently so in each channel."""
    torch.manual_seed(seed)
    x = torch.randn(shape).relu() + torch.linspace(-1, 1, shape[1]).view(1, -1, 1, 1)
    return x.contiguous(memory_format=torch.channels_last)


def of_one(found: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Without the axis of tasks."""
    return tuple(part.squeeze(0) for part in found)


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_slopes_against_float64(shape: tuple[int, ...]) -> None:
    x = maps(shape)
    g = (x + maps(shape, seed=1)) * 1e-3
    weight, bias = torch.linspace(0.5, 2, shape[1]), torch.linspace(-1, 1, shape[1])
    var, mean = torch.var_mean(x.double(), (0, 2, 3), correction=0)
    r = torch.rsqrt(var + EPSILON)
    wide = x.double().contiguous(), g.double().contiguous()
    exact = torch.native_batch_norm(wide[0], weight.double(), bias.double(), None, None, True, 0.0, EPSILON)
    found = of_one(normalise(x[None], weight[None], bias[None], epsilon=EPSILON))
    assert all(distance(one, other) < 1e-6 for one, other in zip(found, exact, strict=True))
    wanted = torch.ops.aten.native_batch_norm_backward(
        wide[1], wide[0], weight.double(), None, None, mean, r, True, EPSILON, [True, True, True]
    )
    given = (tensor[None] for tensor in (g, x, weight, mean.float(), r.float()))
    slopes = of_one(normalise_gradient(*given, epsilon=EPSILON))
    assert all(distance(one, other) < 1e-6 for one, other in zip(slopes, wanted, strict=True))


def test_other_layouts_are_torchs_own() -> None:
    x = maps((75, 8, 14, 14)).contiguous()
    weight, bias = torch.ones(8), torch.zeros(8)
    native = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, EPSILON)
    found = of_one(normalise(x[None], weight[None], bias[None], epsilon=EPSILON))
    assert all(torch.equal(one, other) for one, other in zip(found, native, strict=True))


@pytest.mark.parametrize("shape", SHAPES)
def test_each_task_has_statistics_of_its_own(shape: tuple[int, ...]) -> None:
    """Bit for bit those it has alone, in the layout of the maps given, also where tasks share their maps."""
    x = torch.stack([maps(shape, seed).permute(0, 2, 3, 1) for seed in range(3)]).permute(0, 1, 4, 2, 3)
    g = x.square()
    weight, bias = torch.rand(3, shape[1]) + 0.5, torch.randn(3, shape[1])
    for given in (x, x[:1].expand(3, *shape)):
        y, mean, r = normalise(given, weight, bias, epsilon=EPSILON)
        assert y[0].stride() == x[0].stride()
        slopes = normalise_gradient(g, given, weight, mean, r, epsilon=EPSILON)
        for task in range(3):
            one = slice(task, task + 1)
            own = given[one].permute(0, 1, 3, 4, 2).clone(memory_format=torch.contiguous_format).permute(0, 1, 4, 2, 3)
            alone = normalise(own, weight[one], bias[one], epsilon=EPSILON)
            assert all(torch.equal(a[task], b[0]) for a, b in zip((y, mean, r), alone, strict=True))
            alone = normalise_gradient(g[one], own, weight[one], mean[one], r[one], epsilon=EPSILON)
            assert all(torch.equal(a[task], b[0]) for a, b in zip(slopes, alone, strict=True))


def test_a_network_of_channels_last_maps_is_exported_for_any_batch() -> None:
    layer = BatchNorm(8)
    x = maps((8, 8, 14, 14))
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    more = maps((12, 8, 14, 14))
    torch.testing.assert_close(program.module()(more), layer(more), rtol=0, atol=1e-4)  # by torch's own sums
