"""The shapes of last maps, and features read out of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from metamtl.backbones.conv4 import Conv4
from metamtl.backbones.resnet12 import ResNet12
from metamtl.errors import UsageError

IMAGES = torch.randn(3, 1, 29, 29, generator=torch.Generator().manual_seed(0))


def conv4(**changes: Any) -> Conv4:
    options = {"width": 8, "blocks": 4, "downsample": "pool", "readout": "flatten", "norm": "batch", **changes}
    return Conv4(input_shape=(1, 29, 29), **options)


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({}, (8, 1, 1)),
        ({"halvings": 2}, (8, 7, 7)),
        ({"halvings": 0}, (8, 29, 29)),
        ({"downsample": "stride"}, (8, 2, 2)),
        ({"downsample": "stride", "halvings": 1}, (8, 15, 15)),
        ({"width": [4, 5, 6, 7]}, (7, 1, 1)),
    ],
)
def test_conv4_knows_its_last_map(changes: dict[str, Any], shape: tuple[int, int, int]) -> None:
    network = conv4(**changes)
    maps = network.blocks(IMAGES)
    assert network.map_shape == tuple(maps.shape[1:]) == shape
    assert torch.equal(network(IMAGES).view_as(maps), maps)
    assert network.features == math.prod(shape)


def test_the_last_two_maps_are_read_out_together() -> None:
    network = conv4(width=[4, 5, 6, 7], readout="last_two")
    before = network.blocks[:3](IMAGES)
    wanted = torch.cat([before.flatten(1), network.blocks[3](before).flatten(1)], 1)
    assert torch.equal(network(IMAGES), wanted)
    assert network.features == wanted.shape[1] == 6 * 3 * 3 + 7


def test_widths_that_do_not_fit_the_blocks_are_refused() -> None:
    with pytest.raises(UsageError, match=r"backbone\.width lists 3 widths for backbone\.blocks=4"):
        conv4(width=[4, 5, 6])


def test_images_that_vanish_are_refused() -> None:
    with pytest.raises(UsageError, match="vanish in 5 halvings"):
        conv4(blocks=5)
    assert conv4(blocks=5, halvings=3).map_shape == (8, 3, 3)


@pytest.mark.parametrize("readout", ["flatten", "mean"])
def test_resnet12_gives_its_last_map_or_its_mean(readout: str) -> None:
    options: dict[str, Any] = {"widths": [4, 5], "drop_rate": 0.0, "drop_block": 1, "norm": "batch"}
    network = ResNet12(input_shape=(1, 29, 29), readout=readout, **options)  # type: ignore[arg-type]
    maps = network.blocks(IMAGES)
    assert network.map_shape == tuple(maps.shape[1:]) == (5, 7, 7)
    wanted = maps.mean((2, 3)) if readout == "mean" else maps.flatten(1)
    assert torch.equal(network(IMAGES), wanted) and network.features == wanted.shape[1]


@pytest.mark.parametrize("readout", ["flatten", "mean", "last_two"])
def test_a_family_that_labels_pixels_is_given_the_last_map(readout: str) -> None:
    """Of either network, whatever its readout."""
    options: dict[str, Any] = {"widths": [4, 5], "drop_rate": 0.0, "drop_block": 1, "norm": "batch"}
    networks: list[Any] = [conv4(readout=readout, halvings=2)]
    if readout != "last_two":
        networks.append(ResNet12(input_shape=(1, 29, 29), readout=readout, **options))  # type: ignore[arg-type]
    for network in networks:
        flat = network.features
        network.of_maps = True
        assert torch.equal(network(IMAGES), network.blocks(IMAGES))
        assert network.features == network.map_shape[0] <= flat
