"""Reptile's displacement against torch's own Adam, and what it is made of."""

from __future__ import annotations

import copy
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from metamtl.algos.reptile import Reptile
from metamtl.data.task import Examples, Task
from tests.algos.suite import Blobs, engine_of, make


def reptile(**changes: Any) -> Reptile:
    learner = make("reptile", **changes)
    assert isinstance(learner, Reptile)
    return learner


def trained_by_torch(learner: Reptile, task: Task) -> dict[str, Tensor]:
    """The network after torch's Adam with beta1 = 0 over the learner's batches."""
    network = copy.deepcopy(learner.network)
    optimizer = torch.optim.Adam(network.parameters(), lr=learner.inner_lr, betas=(0.0, 0.999))
    for batch in islice(learner.batches(task.support), learner.inner_steps):
        optimizer.zero_grad()
        learner.family.loss(network.support(batch.x), batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return dict(network.named_parameters())


def test_its_gradient_is_the_displacement_of_adam() -> None:
    """The mean over tasks of theta - theta~, so that SGD at rate epsilon is algorithm 2."""
    learner, batch = reptile(inner_lr=0.01, inner_steps=7, inner_batch=4), Blobs((12,)).tasks(3)
    found = engine_of(learner).meta_gradient([batch])
    tasks = [trained_by_torch(learner, batch.task(number)) for number in range(3)]
    for name, weight in learner.network.named_parameters():
        wanted = sum((weight - trained[name] for trained in tasks), torch.zeros_like(weight)).detach()
        torch.testing.assert_close(found.gradient[f"network.{name}"], wanted, rtol=1e-6, atol=1e-10)


def test_small_batches_matter() -> None:
    """With one batch of everything the curvature between minibatches, which the method lives on, is not seen."""
    batch = Blobs((12,)).tasks(2)
    whole, small = (
        engine_of(reptile(inner_batch=size, inner_lr=0.01)).meta_gradient([batch]).gradient for size in (25, 5)
    )
    assert any(not torch.allclose(small[name], g, rtol=1e-2) for name, g in whole.items())


def test_batches_are_cut_from_passes_over_the_support_set() -> None:
    learner = reptile(inner_batch=4)
    support = Examples(torch.arange(10.0).unsqueeze(1), torch.arange(10), 10)
    seen = [batch.labels.tolist() for batch in islice(learner.batches(support), 5)]
    assert [len(labels) for labels in seen] == [4] * 5
    flat = [label for labels in seen for label in labels]
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert flat[:10] != flat[10:]
    whole = reptile(inner_batch=10)
    assert all(batch is support for batch in islice(whole.batches(support), 3))


@pytest.mark.parametrize("train", [True, False])
def test_each_phase_has_its_own_batches(train: bool) -> None:
    learner = reptile(inner_batch=4, test_batch=6).train(train)
    assert len(next(learner.batches(Blobs((12,)).tasks(1).single().support)).labels) == (4 if train else 6)


def test_the_query_set_does_not_teach() -> None:
    learner, batch = reptile(), Blobs((12,)).tasks(2)
    other = type(batch)(batch.support, batch.query.map(lambda t: t.flip(1)), batch.number)
    found, wanted = (engine_of(learner).meta_gradient([tasks]).gradient for tasks in (other, batch))
    assert all(torch.equal(found[name], g) for name, g in wanted.items())


def test_weights_that_are_not_trained_have_no_displacement_in_an_update() -> None:
    learner, batch = reptile(), Blobs((12,)).tasks(2)
    first = next(iter(learner.network.parameters())).requires_grad_(False)
    found = engine_of(learner).meta_gradient([batch]).gradient
    names = {f"network.{name}" for name, weight in learner.network.named_parameters() if weight is not first}
    assert found.keys() == names and all(g.abs().max() > 0 for g in found.values())
