"""Where a network is conditioned, with how many channels."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from metamtl.backbones.conditioning import condition, conditionable
from metamtl.backbones.norm import norm_layer


def test_each_layer_of_a_flat_network_has_the_channels_of_the_one_before_it() -> None:
    flat = nn.Sequential(
        nn.Conv2d(1, 4, 3), norm_layer("batch", 4), nn.ReLU(), nn.Conv2d(4, 6, 3), norm_layer("group", 6), nn.ReLU()
    )
    assert conditionable(flat) == {"1": 4, "4": 6}


def test_every_layer_is_met_with_its_channels() -> None:
    network = nn.Sequential(
        nn.Sequential(nn.Linear(3, 5), nn.Identity(), nn.ReLU()),
        nn.Sequential(nn.Identity(), nn.Linear(5, 7), nn.ReLU()),
    )
    seen: dict[str, int] = {}

    class Watched(nn.Module):
        def __init__(self, name: str, layer: nn.Module) -> None:
            super().__init__()
            self.name, self.layer = name, layer

        def forward(self, x: Tensor) -> Tensor:
            seen[self.name] = x.shape[-1]
            y: Tensor = self.layer(x)
            return y

    expected = conditionable(network)
    for name in expected:
        condition(network, name, partial(Watched, name))
    network(torch.zeros(2, 3))
    assert seen == expected == {"0.1": 5, "1.0": 5}


def test_a_network_without_layers_of_weights_has_none() -> None:
    assert conditionable(nn.Sequential(nn.Identity(), nn.Flatten())) == {}
