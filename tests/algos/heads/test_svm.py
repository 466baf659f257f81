"""The support vector machine against scikit-learn's, its own constraints, and finite differences."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import vmap

from metamtl.algos.heads.svm import crammer_singer

# examples, ways, features, cost, length of the features; the third and fourth have more examples than features
CASES = [(5, 5, 64, 0.1, 1.0), (25, 5, 32, 0.1, 1.0), (75, 5, 16, 0.1, 1.0), (20, 4, 5, 0.5, 1.0)]
CASES += [(25, 5, 64, 1.0, 0.1), (25, 5, 64, 0.1, 10.0), (40, 20, 64, 0.1, 1.0)]


def problem(examples: int, ways: int, features: int, length: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Overlapping classes: features [S, D] and one-hot labels [S, ways]."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(examples) % ways
    means = torch.randn(ways, features, generator=generator, dtype=torch.float64)
    spread = torch.randn(examples, features, generator=generator, dtype=torch.float64)
    return length * (means[labels] + spread), F.one_hot(labels, ways).double()


def weights(x: Tensor, y: Tensor, cost: float) -> Tensor:
    return x.T @ crammer_singer(x @ x.T, y, cost)


@pytest.mark.parametrize(("examples", "ways", "features", "cost", "length"), CASES)
def test_it_is_scikit_learns(examples: int, ways: int, features: int, cost: float, length: float) -> None:
    svm = pytest.importorskip("sklearn.svm")
    x, y = problem(examples, ways, features, length)
    machine = svm.LinearSVC(multi_class="crammer_singer", fit_intercept=False, C=cost, tol=1e-8, max_iter=100_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions tell of an option to be renamed
        wanted = torch.from_numpy(machine.fit(x.numpy(), y.argmax(1).numpy()).coef_)
    found = weights(x, y, cost)
    assert float((found.T - wanted).abs().max()) < 1e-4 * max(1.0, float(wanted.abs().max()))
    queries, _ = problem(50, ways, features, length, seed=1)
    torch.testing.assert_close(queries @ found, queries @ wanted.T, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("examples", "ways", "features", "cost", "length"), CASES)
def test_the_constraints_hold(examples: int, ways: int, features: int, cost: float, length: float) -> None:
    x, y = problem(examples, ways, features, length)
    a = crammer_singer(x @ x.T, y, cost)
    assert float((a - cost * y).max()) <= 1e-9 * cost
    torch.testing.assert_close(a.sum(1), torch.zeros(examples, dtype=torch.float64), rtol=0, atol=1e-6 * cost)


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_its_derivative_is_the_solutions_own(number: int) -> None:
    examples, ways, features, cost, length = CASES[number]
    x, y = problem(examples, ways, features, length)
    queries, _ = problem(8, ways, features, length, seed=1)
    towards = length * torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def loss(x: Tensor) -> Tensor:
        return F.cross_entropy(queries @ weights(x, y, cost) / length**2, torch.arange(8) % ways)

    (slope,) = torch.autograd.grad(loss(x.requires_grad_()), x)
    with torch.no_grad():
        wanted = (loss(x + 1e-4 * towards) - loss(x - 1e-4 * towards)) / 2e-4
    torch.testing.assert_close((slope * towards).sum(), wanted, rtol=1e-3, atol=1e-7)


def test_only_support_vectors_count() -> None:
    """Examples far from any other class could be left out."""
    x, y = problem(30, 3, 8, 1.0)
    x = x + 12 * F.pad(y * torch.cat([torch.ones(15), torch.zeros(15)]).double().unsqueeze(1), (0, 5))
    a = crammer_singer(x @ x.T, y, 0.1)
    used = a.abs().amax(1) > 1e-6
    assert 0 < int(used.sum()) < 20
    left = x[used].T @ crammer_singer(x[used] @ x[used].T, y[used], 0.1)
    torch.testing.assert_close(left, x.T @ a, rtol=1e-3, atol=1e-4)


def test_vectorised_it_is_the_same() -> None:
    problems = [problem(10, 5, 20, 1.0, seed) for seed in range(3)]
    x, y = (torch.stack(parts) for parts in zip(*problems, strict=True))
    wanted = torch.stack([weights(*one, 0.1) for one in problems])
    torch.testing.assert_close(vmap(lambda x, y: weights(x, y, 0.1))(x, y), wanted, rtol=1e-9, atol=1e-12)


def test_features_of_zero_tell_nothing_apart() -> None:
    x = torch.zeros(5, 4, dtype=torch.float64, requires_grad=True)
    found = weights(x, torch.eye(5, dtype=torch.float64), 0.1)
    (slope,) = torch.autograd.grad(found.sum(), x)
    assert torch.equal(found, torch.zeros_like(found))
    assert torch.isfinite(slope).all()


def test_single_precision_is_solved_in_double() -> None:
    x, y = problem(25, 5, 32, 1.0)
    found = weights(x.float(), y.float(), 0.1)
    assert found.dtype is torch.float32
    torch.testing.assert_close(found.double(), weights(x, y, 0.1), rtol=1e-3, atol=1e-5)
