"""Twins compared as the paper has it, trained on pairs, and what the learned weights of their units are for."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.siamese import Siamese
from tests.algos.suite import Blobs, engine_of, make


def siamese(**changes: Any) -> Siamese:
    learner = make("siamese", **changes)
    assert isinstance(learner, Siamese)
    return learner


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def verified(learner: Siamese, first: Tensor, second: Tensor) -> Tensor:
    """Logits [N] that features are of one class: sum_j alpha_j |h1_j - h2_j| + bias."""
    h1, h2 = (learner.twin(x).sigmoid() for x in (first, second))
    logits: Tensor = (h1 - h2).abs() @ learner.alpha.weight[0] + learner.alpha.bias
    return logits


def test_a_class_has_the_mean_logit_of_its_examples() -> None:
    learner, support, queries = siamese(units=7), drawn(7, 32), drawn(3, 32, seed=1)
    labels = torch.tensor([2, 0, 1, 0, 0, 2, 1])
    scores = learner.score(learner.fit(support, labels, 3), queries)
    for q, row in zip(queries, scores, strict=True):
        logits = verified(learner, q.expand(7, -1), support)
        torch.testing.assert_close(row, torch.stack([logits[labels == c].mean() for c in range(3)]))


def test_pairs_are_trained_by_cross_entropy() -> None:
    learner, pairs = siamese(), Blobs((12,)).pairs(16)
    assert isinstance(pairs.examples.x, dict)
    update = engine_of(learner).minibatch_gradient(pairs, 0)
    twins = (learner.network.query(pairs.examples.x[name], head=False) for name in ("first", "second"))
    logits, same = verified(learner, *twins), pairs.examples.labels
    assert 8 <= int(same.sum()) < 16
    loss = F.binary_cross_entropy_with_logits(logits, same.double())
    torch.testing.assert_close(update.figures["loss"], loss.detach().expand(16))
    torch.testing.assert_close(update.figures["accuracy"][0], ((logits > 0) == same).double().mean())
    gradients = torch.autograd.grad(loss, list(learner.parameters()))
    for g, (name, _) in zip(gradients, learner.named_parameters(), strict=True):
        torch.testing.assert_close(update.gradient[name] / 16, g)


def test_twins_are_exchangeable() -> None:
    learner = siamese()
    x = drawn(6, 32)
    found = learner.score(learner.fit(x, torch.arange(6), 6), x)
    torch.testing.assert_close(found, found.T)


def test_the_weights_say_which_units_tell_classes_apart() -> None:
    """The first unit holds the class, the others noise: weighted equally, they hide it."""
    learner, labels = siamese(units=8), torch.arange(40) % 2
    x = torch.cat([labels.double().unsqueeze(1), 3 * drawn(40, 31)], 1)
    with torch.no_grad():
        learner.twin.weight.copy_(torch.eye(8, 32))
        learner.twin.bias.zero_()

    def accuracy(weights: Tensor) -> float:
        with torch.no_grad():
            learner.alpha.weight.copy_(-weights)
        outputs = learner.score(learner.fit(x[:10], labels[:10], 2), x[10:])
        return float((outputs.argmax(1) == labels[10:]).double().mean())

    assert accuracy(F.one_hot(torch.tensor([0]), 8).double()) == 1
    assert accuracy(torch.ones(1, 8).double()) < 0.9


def test_a_stage_says_whether_pairs_are_distorted() -> None:
    for distortion in (True, False):
        (stage,) = siamese(distortion=distortion).stages
        assert (stage.stream, stage.distorted) == ("pairs", distortion)
