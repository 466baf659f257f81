"""Scores, class maps and loss of relation networks, and what the module's depth is for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.algos.relation import RelationModule, RelationNet
from metamtl.backbones.conv4 import Conv4
from metamtl.backbones.norm import GroupNorm
from metamtl.data.family import Classification
from metamtl.data.task import Examples
from metamtl.errors import UsageError
from tests.algos.suite import make


def relation(**changes: Any) -> RelationNet:
    learner = make("relation", **changes)
    assert isinstance(learner, RelationNet)
    return learner


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_class_is_the_sum_of_its_examples_maps() -> None:
    features, labels = drawn(5, 32), torch.tensor([1, 0, 1, 1, 0])
    wanted = torch.stack([features[labels == c].sum(0) for c in range(2)])
    torch.testing.assert_close(relation().fit(features, labels, 2), wanted)


def test_each_pair_is_scored_alone_class_over_query() -> None:
    learner, queries = relation(backbone="conv4"), drawn(3, 32)
    assert learner.map_shape == (8, 2, 2)
    rule = learner.fit(drawn(5, 32, seed=1), torch.arange(5), 5)
    scores = learner.score(rule, queries)
    assert scores.shape == (3, 5) and bool(((scores > 0) & (scores < 1)).all())
    for q in range(3):
        for c in range(5):
            pair = torch.cat([rule[c].view(8, 2, 2), queries[q].view(8, 2, 2)]).unsqueeze(0)
            torch.testing.assert_close(learner.relation(pair).squeeze(), scores[q, c])


def test_the_loss_is_the_squared_error_of_the_scores() -> None:
    """Equation 2, its sum over classes, its mean over queries; also for what is scored on kept features."""
    scores = torch.tensor([[0.9, 0.2], [0.6, 0.5]], dtype=torch.float64)
    query = Examples(torch.zeros(2, 1), torch.tensor([0, 1]), 2)
    wanted = (0.1**2 + 0.2**2 + 0.6**2 + 0.5**2) / 2
    assert float(relation().query_loss(scores, query)) == pytest.approx(wanted)


def test_without_its_layers_a_module_cannot_compare() -> None:
    """One that is linear adds what it sees of class and query: every query then gets the same class."""
    learner = relation()
    rule, queries = learner.fit(drawn(25, 32), torch.arange(25) % 5, 5), drawn(200, 32, seed=1)
    shape = learner.map_shape

    def chosen() -> int:
        return len(set(learner.score(rule, queries).argmax(1).tolist()))

    assert chosen() > 1
    learner.relation.blocks = nn.Identity()  # type: ignore[assignment]
    learner.relation.layers = nn.Sequential(nn.Linear(2 * shape[0], 1).double())
    assert chosen() == 1


@pytest.mark.parametrize("side", [4, 1])
def test_a_block_is_convolution_normalisation_relu_and_pooling(side: int) -> None:
    module, maps = RelationModule((4, side, side), 3).double(), drawn(6, 8, side, side)
    convolutions = [layer for layer in module.blocks if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in module.blocks if isinstance(layer, GroupNorm)]
    wanted = maps
    for convolution, norm in zip(convolutions, norms, strict=True):
        wanted = norm(F.conv2d(wanted, convolution.weight, convolution.bias, padding=1)).clamp(min=0)
        wanted = F.max_pool2d(wanted, 2) if wanted.shape[-1] > 1 else wanted
    assert len(convolutions) == 2
    torch.testing.assert_close(module.blocks(maps), wanted)


@pytest.mark.parametrize(("side", "pooled"), [(7, 1), (4, 1), (2, 1), (1, 1)])
def test_maps_are_pooled_as_far_as_they_go(side: int, pooled: int) -> None:
    module = RelationModule((4, side, side), 3)
    assert module.layers[0].in_features == 4 * pooled**2
    assert module(torch.zeros(2, 8, side, side)).shape == (2,)


def test_features_that_are_no_map_are_refused() -> None:
    body = Conv4(input_shape=(1, 8, 8), width=4, blocks=2, downsample="pool", readout="mean", norm="none")
    with pytest.raises(UsageError, match=r"backbone\.readout=flatten"):
        RelationNet(hidden=8, backbone=body, family=Classification("made", 5), norm="none")
