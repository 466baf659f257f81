"""A convex classifier as a task's head: the two heads, and what the machine adds to class means."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.heads.ridge import ridge
from metamtl.algos.metaoptnet import MetaOptNet
from metamtl.algos.protonet import class_means
from metamtl.data.task import Task
from tests.algos.suite import Blobs, engine_of, make


def metaoptnet(**changes: Any) -> MetaOptNet:
    learner = make("metaoptnet", **changes)
    assert isinstance(learner, MetaOptNet)
    return learner


def a_task() -> tuple[Task, Tensor, Tensor]:
    """A task, and its raw inputs of either set."""
    task = Blobs((12,), seed=1).tasks(1, shots=20, queries=100).single()
    assert isinstance(task.support.x, Tensor) and isinstance(task.query.x, Tensor)
    return task, task.support.x, task.query.x


def test_ridge_is_a_regression_on_one_hot_labels() -> None:
    task, support, query = a_task()
    learner = metaoptnet(head="ridge", penalty=3.0, scale=2.0)
    rule = learner.fit(support, task.support.labels, 5)
    wanted = ridge(support, F.one_hot(task.support.labels, 5).double(), torch.tensor(3.0))
    torch.testing.assert_close(rule, wanted)
    torch.testing.assert_close(learner.score(rule, query), 2 * query @ wanted)


def test_the_machine_finds_what_class_means_do_not() -> None:
    """Nor is it the regression."""
    task, support, query = a_task()
    learner = metaoptnet(cost=0.1)
    rule = learner.fit(support, task.support.labels, 5)

    def accuracy(weights: Tensor) -> float:
        return float(learner.family.metrics(learner.score(weights, query), task.query)["accuracy"])

    assert accuracy(rule) > accuracy(class_means(support, task.support.labels, 5).T) + 0.05
    regression = ridge(support, F.one_hot(task.support.labels, 5).double(), torch.tensor(50.0))
    assert F.cosine_similarity(rule.flatten(), regression.flatten(), dim=0) < 0.99


@pytest.mark.parametrize("head", ["svm", "ridge"])
def test_the_embedding_and_the_scale_learn_through_the_solution(head: str) -> None:
    learner, batch = metaoptnet(head=head), Blobs((12,)).tasks(2)
    gradient = engine_of(learner).meta_gradient([batch]).gradient
    towards = {name: torch.randn_like(w, dtype=torch.float64) for name, w in learner.named_parameters()}
    wanted = sum(float((gradient[name] * towards[name]).sum()) for name in gradient)

    def moved(step: float) -> float:
        with torch.no_grad():
            for name, weight in learner.named_parameters():
                weight.add_(step * towards[name])
        return float(engine_of(learner).evaluate([batch])["loss"].sum())

    assert (moved(1e-6) - moved(-2e-6)) / 2e-6 == pytest.approx(wanted, rel=1e-3)
