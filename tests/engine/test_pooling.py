"""Max-pooling of many tasks against torch's own, with three derivatives; and what is left to torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.backbones.vectorised import vectorised
from metamtl.engine.operators import Operators
from tests.engine.derivatives import derivatives, drawn

POOLS: dict[str, Callable[[Tensor], Any]] = {
    "conv4": nn.MaxPool2d(2),
    "overlapping": nn.MaxPool2d(3, 2, 1),
    "uneven": lambda x: F.max_pool2d(x, (2, 3), (1, 2)),
    "rounded-up": lambda x: F.max_pool2d(x, 2, ceil_mode=True),
    "dilated": lambda x: torch.max_pool2d(x, 2, 1, 0, 2),
}


@pytest.mark.parametrize("how", ["alone", "engine"])
@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_derivatives_are_torchs(pool: Callable[[Tensor], Any], how: str) -> None:
    x = drawn(3, 2, 4, 7, 6)
    x[0, 0, 0] = 1.0  # ties, of which torch takes one

    def plain(x: Tensor) -> Tensor:
        return torch.stack([pool(own) for own in x])

    def alone(x: Tensor) -> Tensor:
        with Operators():
            return plain(x)

    def task(x: Tensor, number: Tensor) -> Tensor:
        with vectorised(number), Operators():
            found: Tensor = pool(x)
            return found

    def engine(x: Tensor) -> Tensor:
        return torch.vmap(task)(x, torch.arange(3))

    for found, wanted in zip(derivatives(alone if how == "alone" else engine, x), derivatives(plain, x), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_the_engines_vmap_gives_its_maps_the_channels_last() -> None:
    def task(x: Tensor, number: Tensor) -> Tensor:
        with vectorised(number), Operators():
            return F.max_pool2d(x, 2)

    assert torch.vmap(task)(drawn(3, 2, 4, 6, 6), torch.arange(3)).stride()[2] == 1


def test_derivatives_keep_places_alone() -> None:
    x, g, kept = drawn(2, 4, 6, 6).requires_grad_(), drawn(2, 4, 3, 3).requires_grad_(), []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.dtype)
        return tensor

    with Operators(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        torch.autograd.grad(F.max_pool2d(x, 2), x, g, create_graph=True)
    assert set(kept) == {torch.int64}


def test_places_and_other_maps_are_left_to_torch() -> None:
    x = drawn(2, 4, 6, 6)
    with Operators():
        values, places = F.max_pool2d(x, 2, return_indices=True)
        assert torch.equal(F.max_pool2d(x[0], 2), values[0])
        assert torch.equal(F.max_pool2d((100 * x).long(), 2), F.max_pool2d((100 * x).long().double(), 2).long())
        with pytest.raises(RuntimeError, match="pad should be"):
            F.max_pool2d(x, 2, padding=3)
    assert torch.equal(x.flatten(2).gather(2, places.flatten(2)), values.flatten(2))
