"""Ridge regression as a task's head: learned penalty, scale and bias, and what the regression adds to class means."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.r2d2 import R2D2
from tests.algos.suite import Blobs, engine_of, make


def r2d2(**changes: Any) -> R2D2:
    learner = make("r2d2", **changes)
    assert isinstance(learner, R2D2)
    return learner


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("examples", [6, 30])
def test_logits_are_a_scaled_and_shifted_regression(examples: int) -> None:
    """Equation 7, with and without Woodbury's identity (more features than examples, and fewer)."""
    learner, x, labels = r2d2(penalty=3.0, scale=7.0), drawn(examples, 12), torch.arange(examples) % 3
    with torch.no_grad():
        learner.bias.fill_(0.5)
    w = torch.linalg.inv(x.T @ x + 3 * torch.eye(12).double()) @ x.T @ F.one_hot(labels, 3).double()
    logits = learner.score(learner.fit(x, labels, 3), drawn(4, 12, seed=1))
    torch.testing.assert_close(logits, 7 * drawn(4, 12, seed=1) @ w + 0.5)


@pytest.mark.parametrize("learn", [True, False])
def test_the_penalty_is_learned_where_it_shall_be(learn: bool) -> None:
    gradient = engine_of(r2d2(learn_penalty=learn)).meta_gradient([Blobs((12,)).tasks(2)]).gradient
    assert ("log_penalty" in gradient) is learn
    assert {"scale", "bias"} <= gradient.keys() and gradient["scale"] != 0
    assert not learn or gradient["log_penalty"] != 0


def test_the_regression_finds_what_class_means_do_not() -> None:
    """Raw blobs differ in few of their directions: a penalty above all else leaves sums over classes, and their errors.

    As the penalty grows W tends to X' Y / penalty.
    """
    task = Blobs((12,), seed=1).tasks(1, shots=40, queries=100).single()
    assert isinstance(task.support.x, Tensor) and isinstance(task.query.x, Tensor)

    def accuracy(penalty: float) -> float:
        learner = r2d2(penalty=penalty)
        outputs = learner.score(learner.fit(task.support.x, task.support.labels, 5), task.query.x)  # type: ignore[arg-type]
        return float(learner.family.metrics(outputs, task.query)["accuracy"])

    assert accuracy(1.0) > accuracy(1e9) + 0.1
