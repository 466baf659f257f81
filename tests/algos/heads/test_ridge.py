"""Ridge regression against scikit-learn's, in both of its forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metamtl.algos.heads.ridge import ridge


def problem(examples: int, features: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(examples)
    x = torch.randn(examples, features, generator=generator, dtype=torch.float64)
    return x, torch.eye(5, dtype=torch.float64)[torch.arange(examples) % 5]


@pytest.mark.parametrize(("examples", "features"), [(5, 64), (25, 64), (64, 64), (75, 16)])
@pytest.mark.parametrize("penalty", [0.1, 50.0])
def test_it_is_scikit_learns(examples: int, features: int, penalty: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = problem(examples, features)
    wanted = linear_model.Ridge(alpha=penalty, fit_intercept=False, solver="cholesky").fit(x.numpy(), y.numpy()).coef_
    found = ridge(x, y, torch.tensor(penalty, dtype=torch.float64))
    torch.testing.assert_close(found.T, torch.from_numpy(wanted), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("examples", "features"), [(6, 9), (9, 6)])
def test_it_is_where_the_objective_is_flat(examples: int, features: int) -> None:
    x, y = problem(examples, features)
    w = ridge(x, y, torch.tensor(3.0, dtype=torch.float64)).requires_grad_()
    (slope,) = torch.autograd.grad((x @ w - y).square().sum() + 3.0 * w.square().sum(), w)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("examples", "features"), [(4, 6), (6, 4)])
def test_it_is_differentiated_by_features_and_penalty(examples: int, features: int) -> None:
    x, y = problem(examples, features)
    penalty = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, p: ridge(x, y, p), (x.requires_grad_(), penalty))
