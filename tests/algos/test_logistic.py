"""Logistic regression against scikit-learn's, on the same features."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import vmap

from metamtl.algos.logistic import logistic_regression


def drawn(examples: int, size: int, ways: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Support features and labels, and query features, of length 1."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(examples) % ways
    means = torch.randn(ways, size, generator=generator, dtype=torch.float64)
    sets = [(means[labels] + torch.randn(examples, size, generator=generator).double()).relu() for _ in range(2)]
    return F.normalize(sets[0], dim=1), labels, F.normalize(sets[1], dim=1)


def probabilities(rule: Tensor, features: Tensor) -> Tensor:
    return (F.pad(features, (0, 1), value=1.0) @ rule.T).softmax(1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("examples", "size", "ways", "penalty"),
    [(5, 64, 5, 1.0), (25, 64, 5, 1.0), (25, 256, 5, 1.0), (25, 10, 5, 0.1), (100, 64, 20, 1.0), (100, 16, 3, 5.0)],
)
def test_probabilities_are_scikit_learns(
    examples: int, size: int, ways: int, penalty: float, dtype: torch.dtype
) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, labels, queries = drawn(examples, size, ways)
    theirs = linear_model.LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=5000)
    wanted = torch.from_numpy(theirs.fit(features.numpy(), labels.numpy()).predict_proba(queries.numpy()))
    rule = logistic_regression(features.to(dtype), labels, ways, penalty, steps=100)
    torch.testing.assert_close(probabilities(rule, queries.to(dtype)).double(), wanted, rtol=0, atol=1e-4)


def test_the_objective_falls_to_where_its_gradient_is_zero() -> None:
    features, labels, _ = drawn(30, 8, 3)

    def objective(rule: Tensor) -> Tensor:
        logits = F.pad(features, (0, 1), value=1.0) @ rule.T
        return F.cross_entropy(logits, labels, reduction="sum") + 0.5 * rule[:, :-1].square().sum()

    values = [float(objective(logistic_regression(features, labels, 3, 1.0, steps))) for steps in (0, 1, 3, 10, 200)]
    assert values == sorted(values, reverse=True) and values[0] > values[-1] + 1
    rule = logistic_regression(features, labels, 3, 1.0, 200).requires_grad_()
    (slope,) = torch.autograd.grad(objective(rule), rule)
    assert float(slope.abs().max()) < 1e-8


def test_many_tasks_are_solved_at_once() -> None:
    tasks = [drawn(10, 24, 5, seed) for seed in range(3)]
    features, labels = torch.stack([task[0] for task in tasks]), torch.stack([task[1] for task in tasks])
    found = vmap(lambda x, y: logistic_regression(x, y, 5, 1.0, 50))(features, labels)
    for rule, (x, y, _) in zip(found, tasks, strict=True):
        torch.testing.assert_close(rule, logistic_regression(x, y, 5, 1.0, 50), rtol=1e-9, atol=1e-11)


def test_equal_and_empty_features_are_no_obstacle() -> None:
    """A dead network embeds everything at one point: every way is as likely."""
    labels = torch.arange(10) % 5
    for features in (torch.zeros(10, 24), torch.ones(10, 24)):
        rule = logistic_regression(features, labels, 5, 1.0, 20)
        torch.testing.assert_close(probabilities(rule, features), torch.full((10, 5), 0.2))
