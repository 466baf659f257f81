"""Prototypes and distances against the slow sums of the paper's equations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metamtl.algos.distances import squared_distance
from metamtl.algos.protonet import ProtoNet, class_means
from tests.algos.suite import Blobs, engine_of, make


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LABELS = torch.tensor([2, 0, 1, 0, 0, 2, 1])  # classes of three, two and two examples


def test_prototypes_are_means_over_classes_of_any_size() -> None:
    features = drawn(7, 4)
    wanted = [[0.0] * 4 for _ in range(3)]
    for c in range(3):
        members = [features[i].tolist() for i in range(7) if int(LABELS[i]) == c]
        wanted[c] = [sum(column) / len(members) for column in zip(*members, strict=True)]
    torch.testing.assert_close(class_means(features, LABELS, 3), torch.tensor(wanted, dtype=torch.float64))


def test_distances_are_squared_and_never_negative() -> None:
    a, b = drawn(5, 4), drawn(3, 4, seed=1)
    wanted = [[sum((float(p) - float(q)) ** 2 for p, q in zip(x, y, strict=True)) for y in b] for x in a]
    torch.testing.assert_close(squared_distance(a, b), torch.tensor(wanted, dtype=torch.float64))
    near = (1e4 + drawn(50, 4)).float()
    assert squared_distance(near, near).min() >= 0  # rounding alone would go below


def learner(distance: str, scale: float) -> ProtoNet:
    made = make("protonet", distance=distance, scale=scale)
    assert isinstance(made, ProtoNet)
    return made


def test_euclidean_logits() -> None:
    """Equation 2: a softmax over minus the squared distances."""
    rule, x = drawn(3, 4), drawn(5, 4, seed=1)
    logits = learner("euclidean", 0.5).score(rule, x)
    wanted = torch.stack([torch.stack([-0.5 * (q - p).square().sum() for p in rule]) for q in x])
    torch.testing.assert_close(logits, wanted)
    assert torch.equal(logits.argmax(1), torch.cdist(x, rule).argmin(1))


def test_cosine_logits() -> None:
    rule, x = drawn(3, 4), drawn(5, 4, seed=1)
    logits = learner("cosine", 10.0).score(rule, x)
    wanted = torch.stack([torch.stack([10 * (q @ p) / (q.norm() * p.norm()) for p in rule]) for q in x])
    torch.testing.assert_close(logits, wanted)
    torch.testing.assert_close(learner("cosine", 10.0).score(3 * rule, x), logits)  # length does not matter


def test_a_query_on_a_prototype_has_no_rival() -> None:
    rule = drawn(3, 4)
    assert torch.equal(learner("euclidean", 1.0).score(rule, rule).argmax(1), torch.arange(3))


def test_the_scale_is_a_temperatures_inverse() -> None:
    rule, x = drawn(3, 4), drawn(5, 4, seed=1)
    for distance in ("euclidean", "cosine"):
        one, ten = (learner(distance, scale).score(rule, x) for scale in (1.0, 10.0))
        torch.testing.assert_close(ten, 10 * one)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_features_of_zero_give_finite_gradients(distance: str) -> None:
    """A ReLU network may map an example to zero, where a cosine has no direction."""
    made = learner(distance, 1.0)
    with torch.no_grad():
        for weight in made.parameters():
            weight.zero_()
    found = engine_of(made).meta_gradient([Blobs((12,)).tasks(2)])
    assert all(torch.isfinite(g).all() for g in found.gradient.values())
    assert torch.isfinite(found.figures["loss"]).all()
