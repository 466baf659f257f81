"""Layers in one pass: which ones are taken together, and that they give what they give one by one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from metamtl.backbones import fused
from metamtl.backbones.layers import Layers, tail_of
from metamtl.backbones.norm import BatchNorm, GroupNorm
from metamtl.backbones.tail import NO_TAIL, Tail


@pytest.mark.parametrize(
    ("layers", "tail", "count"),
    [
        ([], Tail(), 0),
        ([nn.Conv2d(1, 1, 1), nn.ReLU()], Tail(), 0),
        ([nn.ReLU(), nn.MaxPool2d(2)], Tail(low=0.0), 1),
        ([nn.MaxPool2d(2)], Tail(pool=2), 1),
        ([nn.MaxPool2d(2, stride=2), nn.LeakyReLU(0.2)], Tail(pool=2, low=0.2), 2),
        ([nn.MaxPool2d((2, 2)), nn.Dropout()], Tail(pool=2), 1),
        ([nn.MaxPool2d(3)], Tail(), 0),
        ([nn.MaxPool2d(2, stride=1)], Tail(), 0),
        ([nn.MaxPool2d(2, padding=1)], Tail(), 0),
        ([nn.MaxPool2d(2, dilation=2)], Tail(), 0),
        ([nn.MaxPool2d(2, ceil_mode=True)], Tail(), 0),
        ([nn.MaxPool2d(2, return_indices=True)], Tail(), 0),
        ([nn.LeakyReLU(-0.5)], Tail(), 0),
        ([nn.LeakyReLU(2.0)], Tail(), 0),
        ([nn.ReLU6()], Tail(), 0),
    ],
)
def test_what_is_one_step(layers: Sequence[nn.Module], tail: Tail, count: int) -> None:
    assert tail_of(layers) == (tail, count)


def block() -> Layers:
    torch.manual_seed(0)
    norm = BatchNorm(4)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return Layers(nn.Conv2d(2, 4, 3, padding=1), norm, nn.MaxPool2d(2), nn.LeakyReLU(0.3)).double()


@pytest.fixture
def tails(monkeypatch: pytest.MonkeyPatch) -> list[Tail]:
    """The tails that batch normalisation was given."""
    found: list[Tail] = []
    own = BatchNorm.forward

    def counted(self: BatchNorm, x: Tensor, tail: Tail = NO_TAIL) -> Tensor:
        found.append(tail)
        return own(self, x, tail)

    monkeypatch.setattr(BatchNorm, "forward", counted)
    return found


def given(layer: BatchNorm) -> None:
    layer.given = torch.randn(4, dtype=torch.float64), torch.rand(4, dtype=torch.float64)


def traced(layer: BatchNorm) -> None:
    layer.traced = True


def hooked(layer: BatchNorm) -> None:
    layer.register_forward_hook(lambda module, inputs, y: y - 1)


def hooked_before(layer: BatchNorm) -> None:
    layer.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))


@pytest.mark.parametrize("change", [None, given, traced, hooked, hooked_before])
def test_the_step_gives_what_the_layers_give(change: object, tails: list[Tail]) -> None:
    layers = block()
    if callable(change):
        torch.manual_seed(1)
        change(layers[1])
    x = torch.randn(3, 2, 7, 6, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    apart = layers(x)
    wanted = torch.autograd.grad(apart.pow(2).sum(), [x, *layers.parameters()])
    assert tails == [Tail()]
    with fused.fused(True):
        together = layers(x)
        found = torch.autograd.grad(together.pow(2).sum(), [x, *layers.parameters()])
    assert tails[1:] == [Tail() if change in (hooked, hooked_before) else Tail(pool=2, low=0.3)]
    torch.testing.assert_close([together, *found], [apart, *wanted], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("number", [2, 3])
def test_hooks_of_what_follows_are_called(number: int) -> None:
    layers = block()
    layers[number].register_forward_hook(lambda module, inputs, y: y + 7)
    x = torch.randn(3, 2, 7, 6, dtype=torch.float64)
    apart = layers(x)
    with fused.fused(True):
        torch.testing.assert_close(layers(x), apart)


def test_other_norms_are_called_by_themselves() -> None:
    layers = Layers(nn.Conv2d(2, 8, 3), GroupNorm(8), nn.ReLU())
    x = torch.randn(3, 2, 7, 6)
    with fused.fused(True):
        assert torch.equal(layers(x), nn.Sequential(*layers)(x))


def test_autocast_is_followed_by_the_tail() -> None:
    layers = block().float()
    x = torch.randn(3, 2, 7, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        apart = layers(x)
        with fused.fused(True):
            together = layers(x)
    assert apart.dtype == together.dtype == torch.bfloat16
    assert torch.equal(together, apart)
