"""The order in which learners of sequences read a support set that comes sorted by label."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metamtl.algos.labelled_sequence import SequenceLearner, in_order
from tests.algos.suite import WAYS, Blobs, make

SMALL: dict[str, dict[str, object]] = {"mann": {"slots": 8, "width": 4}, "metanet": {}, "snail": {"filters": 8}}


@pytest.mark.parametrize("name", SMALL)
def test_a_loss_is_that_of_the_order_of_the_tasks_number(name: str) -> None:
    learner, task = make(name, **SMALL[name]), Blobs((12,)).tasks(1).single()  # type: ignore[arg-type]
    assert isinstance(learner, SequenceLearner)
    loss, outputs = learner.outer_loss(task)
    in_turn = in_order(task.support, task.number)
    torch.testing.assert_close(learner.predict(learner.adapt(in_turn), task.query.x), outputs)
    torch.testing.assert_close(learner.family.loss(outputs, task.query), loss)
    sorted_by_label = learner.predict(learner.adapt(task.support), task.query.x)
    renumbered = learner.outer_loss(replace(task, number=task.number + 1))[1]
    for other in (sorted_by_label, renumbered):
        assert (other - outputs).abs().max() > 1e-6


def test_an_order_mixes_the_labels() -> None:
    """A class comes first, and last, about as often as any other."""
    support = Blobs((12,)).tasks(1).single().support
    orders = torch.stack([in_order(support, torch.tensor(number)).labels for number in range(200)])
    assert bool((support.labels.diff() >= 0).all())
    for place in (0, -1):
        assert bool((orders[:, place].bincount(minlength=WAYS) > 20).all())
