"""Heads that start from prototypes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from metamtl.algos.descent import InnerLoop, prototype_head
from metamtl.data.family import Classification, Regression
from metamtl.data.task import Examples
from metamtl.errors import UsageError
from tests.algos.suite import TINY, WAYS, Blobs, engine_of, make, names_with, outputs_of

OPTION = names_with("head_init")


def test_the_head_is_the_distance_to_class_means() -> None:
    """w_k . f + b_k = ||f||^2 - ||f - c_k||^2, and zeros beyond the task's ways."""
    generator = torch.Generator().manual_seed(0)
    features, queries = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (6, 5))
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    head = prototype_head(features, Examples(features, labels, 3), outputs=5)
    means = torch.stack([features[labels == k].mean(0) for k in range(3)])
    wanted = queries.square().sum(1, keepdim=True) - torch.cdist(queries, means).square()
    found = queries @ head["head.weight"].T + head["head.bias"]
    torch.testing.assert_close(found[:, :3], wanted)
    assert torch.equal(found[:, 3:], torch.zeros(5, 2, dtype=torch.float64))


@pytest.mark.parametrize("name", OPTION)
def test_without_steps_it_is_the_nearest_mean(name: str) -> None:
    learner, protonet = (
        make(name, "conv4", "batch", head_init="prototype", inner_steps=0),
        make("protonet", "conv4", "batch"),
    )
    state = {k: v for k, v in learner.state_dict().items() if k.startswith("network.backbone")}
    protonet.load_state_dict({k.replace(".norm.", "."): v for k, v in state.items()})  # within MMAML's modulation
    task = Blobs(TINY["conv4"]).tasks(1).single()
    assert isinstance(task.query.x, torch.Tensor)
    found, wanted = (outputs_of(one, task.support, task.query.x).softmax(1) for one in (learner, protonet))
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", OPTION)
def test_the_names_of_classes_mean_nothing_to_it(name: str) -> None:
    """The same weights, whatever the labels are called; a learned head knows them apart."""
    task, new = Blobs((12,)).tasks(1).single(), torch.tensor([3, 0, 4, 1, 2])
    x = task.query.x
    assert isinstance(x, torch.Tensor)
    renamed = Examples(task.support.x, new[task.support.labels], WAYS)
    equal_rates: dict[str, Any] = {"initial_lr": [0.1, 0.1]} if name == "metasgd" else {}

    def alike(head_init: str) -> bool:
        learner = make(name, head_init=head_init, **equal_rates)
        first, second = (outputs_of(learner, support, x) for support in (task.support, renamed))
        return torch.allclose(second[:, new], first, rtol=1e-6, atol=1e-8)

    assert alike("prototype")
    assert not alike("learned")


@pytest.mark.parametrize("name", OPTION)
def test_the_meta_gradient_passes_through_the_prototypes(name: str) -> None:
    """Alone and vectorised, with fewer ways than outputs."""
    batch = Blobs(TINY["conv4"]).tasks(3)
    learner = make(name, "conv4", "batch", head_init="prototype", family=Classification("blobs", WAYS + 2, 40))
    assert isinstance(learner, InnerLoop)
    loop, vectorised = (engine_of(learner, how).meta_gradient([batch]).gradient for how in ("loop", "vmap"))
    largest = max(float(g.abs().max()) for g in loop.values())
    for weight, g in loop.items():
        torch.testing.assert_close(vectorised[weight], g, rtol=1e-8, atol=1e-10 * largest)
    held = make(name, "conv4", "batch", head_init="prototype", inner_steps=0)
    slopes = engine_of(held).meta_gradient([batch]).gradient
    assert float(slopes["network.backbone.blocks.0.0.weight"].abs().max()) > 0


def test_what_has_no_means_is_refused() -> None:
    with pytest.raises(UsageError, match="no classes"):
        make("maml", family=Regression("waves", 1), head_init="prototype")
    with pytest.raises(UsageError, match="adapt=body"):
        make("maml", adapt="body", head_init="prototype")
