"""The cosine head: its gradient in closed form against autograd, its training against torch's SGD, its scale."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.baselinepp import BaselinePP, CosineHead
from metamtl.data.family import Classification
from tests.algos.suite import make


def baselinepp(**changes: float) -> BaselinePP:
    learner = make("baselinepp", **changes)  # type: ignore[arg-type]
    assert isinstance(learner, BaselinePP)
    return learner


def drawn(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def loss_of(head: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    """Written from the definition: twice the length times the cosine."""
    cosines = F.cosine_similarity(features.unsqueeze(1), head[:, :-1].unsqueeze(0), dim=2)
    return F.cross_entropy(2 * cosines * head[:, -1], labels)


def test_the_slope_is_the_gradient() -> None:
    head, features, labels = drawn(3, 7).requires_grad_(), drawn(9, 6) + 1, torch.arange(9) % 3
    (wanted,) = torch.autograd.grad(loss_of(head, features, labels), head)
    found = baselinepp().slope(head.detach(), features, F.one_hot(labels, 3).double())
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_the_head_is_trained_as_torch_trains_it() -> None:
    learner = baselinepp(head_epochs=6, head_batch=4, head_lr=0.1)
    features, labels = drawn(10, 6), torch.arange(10) % 3
    head = torch.nn.Parameter(learner.first_head(features, F.one_hot(labels, 3).double()).clone())
    sgd = torch.optim.SGD([head], lr=0.1, momentum=0.9, dampening=0.9, weight_decay=1e-3)
    for chosen in learner._batches(10):
        (head.grad,) = torch.autograd.grad(loss_of(head, features[chosen], labels[chosen]), head)
        sgd.step()
    torch.testing.assert_close(learner.fit(features, labels, 3), head.detach(), rtol=1e-9, atol=1e-11)


def test_the_first_head_prefers_no_way() -> None:
    learner, features = baselinepp(head_epochs=0), drawn(8, 6)
    head = learner.fit(features, torch.arange(8) % 4, 4)
    logits = learner.score(head, features)
    torch.testing.assert_close(logits, logits[:, :1].expand(-1, 4))
    assert torch.isfinite(learner.slope(head, features, F.one_hot(torch.arange(8) % 4, 4).double())).all()


def test_the_length_of_a_feature_does_not_matter() -> None:
    """What tells it from the linear head."""
    support, labels, queries = drawn(10, 6), torch.arange(10) % 5, drawn(12, 6)
    longer = queries * torch.linspace(0.1, 10, 12, dtype=torch.float64).unsqueeze(1)
    learner, linear = baselinepp(), make("baseline")
    rule = learner.fit(support, labels, 5)
    torch.testing.assert_close(learner.score(rule, longer), learner.score(rule, queries), rtol=1e-10, atol=1e-12)
    rule = linear.fit(support, labels, 5)  # type: ignore[operator]
    assert not torch.allclose(linear.score(rule, longer), linear.score(rule, queries), rtol=0.1)  # type: ignore[operator]


@pytest.mark.parametrize(("classes", "scale"), [(200, 2.0), (201, 10.0)])
def test_the_scale_follows_the_number_of_classes(classes: int, scale: float) -> None:
    head = make("baselinepp", family=Classification("many", 5, classes=classes)).network.head
    assert isinstance(head, CosineHead) and head.scale == scale
    own = make("baselinepp", family=Classification("many", 5, classes=classes), scale=3.0).network.head
    assert isinstance(own, CosineHead) and own.scale == 3.0
    assert baselinepp()._scale(5) == 2.0  # of a task's head, whatever it was pre-trained with


def test_the_pre_training_head_is_a_cosine_too() -> None:
    head = CosineHead(4, 3, 2.0).double()
    features, labels = drawn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    whole = torch.cat([head.directions, head.lengths.unsqueeze(1)], 1)
    torch.testing.assert_close(F.cross_entropy(head(features), labels), loss_of(whole, features, labels))
