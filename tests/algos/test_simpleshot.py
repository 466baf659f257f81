"""The three transforms of features, and the mean of the base classes that one of them subtracts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from metamtl.algos.simpleshot import SimpleShot
from metamtl.backbones.centre import Centre
from metamtl.data.task import Examples
from metamtl.errors import UsageError
from tests.algos.sentences import Sentences
from tests.algos.suite import Blobs, engine_of, make


def simpleshot(**changes: Any) -> SimpleShot:
    learner = make("simpleshot", **changes)
    assert isinstance(learner, SimpleShot)
    return learner


def centre_of(learner: SimpleShot) -> Centre:
    (centre,) = (module for module in learner.network.modules() if isinstance(module, Centre))
    return centre


@pytest.mark.parametrize("transform", ["UN", "L2N"])
def test_the_nearest_mean_of_transformed_features_wins(transform: str) -> None:
    generator = torch.Generator().manual_seed(0)
    support, queries = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    learner = simpleshot(transform=transform)
    scores = learner.score(learner.fit(support, torch.arange(6) % 3, 3), queries)
    if transform == "L2N":
        support, queries = (x / x.norm(dim=1, keepdim=True) for x in (support, queries))
    wanted = [[-float((q - (support[c] + support[c + 3]) / 2).square().sum()) for c in range(3)] for q in queries]
    torch.testing.assert_close(scores, torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize("norm", ["running", "group", "none"])
def test_the_mean_of_training_is_kept_and_subtracted_at_test(norm: str) -> None:
    learner, blobs = simpleshot(norm=norm), Blobs((12,))
    minibatch = blobs.minibatch(64)
    features = learner.network.query(minibatch.examples.x, head=False)
    update = engine_of(learner).minibatch_gradient(minibatch, 0)
    learner.network.update_running([(mean / 64, var / 64) for mean, var in update.statistics])
    centre = centre_of(learner)
    torch.testing.assert_close(centre.running_mean, 0.1 * features.mean(0).detach())
    learner.eval()
    if norm == "none":  # nothing else changes between the phases
        found = learner.network.query(minibatch.examples.x, head=False)
        torch.testing.assert_close(found, features - centre.running_mean)


def test_words_are_not_centred() -> None:
    with pytest.raises(UsageError, match=r"CL2N: the mean feature of words .* take algo\.transform=L2N"):
        make("simpleshot", "text", family=Sentences().family)


def test_pretraining_sees_features_as_they_are() -> None:
    """The same gradient as without centring."""
    minibatch = Blobs((12,)).minibatch(16)
    one, other = (
        engine_of(simpleshot(transform=transform)).minibatch_gradient(minibatch, 0).gradient
        for transform in ("CL2N", "L2N")
    )
    for g, wanted in zip(one.values(), other.values(), strict=True):
        assert torch.equal(g, wanted)


def test_centring_matters_where_all_features_point_one_way() -> None:
    """Far from the origin every direction is alike; less their mean they are told apart again."""
    task = Blobs((12,), seed=2).tasks(1, shots=20, queries=50).single()
    assert isinstance(task.support.x, Tensor) and isinstance(task.query.x, Tensor)
    far = Examples(task.support.x.float() + 3000.0, task.support.y, 5)
    queries = task.query.x.float() + 3000.0

    def accuracy(transform: str) -> float:
        learner = simpleshot(transform=transform, hidden=[], dtype=torch.float32).eval()
        if transform == "CL2N":
            centre_of(learner).running_mean.fill_(3000.0)
        outputs = learner.predict(learner.adapt(far), queries)
        return float(learner.family.metrics(outputs, task.query)["accuracy"])

    assert accuracy("CL2N") > accuracy("L2N") + 0.1
