"""Heads that start from prototypes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

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
def test_the_meta_gradient_is_the_same_in_every_way(name: str) -> None:
    """Alone and vectorised, with fewer ways than outputs."""
    batch = Blobs(TINY["conv4"]).tasks(3)
    learner = make(name, "conv4", "batch", head_init="prototype", family=Classification("blobs", WAYS + 2, 40))
    assert isinstance(learner, InnerLoop)
    loop, vectorised = (engine_of(learner, how).meta_gradient([batch]).gradient for how in ("loop", "vmap"))
    largest = max(float(g.abs().max()) for g in loop.values())
    for weight, g in loop.items():
        torch.testing.assert_close(vectorised[weight], g, rtol=1e-8, atol=1e-10 * largest)


@pytest.mark.parametrize("name", OPTION)
def test_without_steps_the_meta_gradient_is_that_of_the_nearest_mean(name: str) -> None:
    """What the prototypes pass on included: queries alone would give another."""
    batch, learner, protonet = Blobs((12,)).tasks(2), make(name, head_init="prototype", inner_steps=0), make("protonet")
    state = {k: v for k, v in learner.state_dict().items() if k.startswith("network.backbone")}
    protonet.load_state_dict({k.replace(".norm.", "."): v for k, v in state.items()})
    found, wanted = (engine_of(one).meta_gradient([batch]).gradient for one in (learner, protonet))
    assert wanted.keys() == state.keys()
    for weight, g in wanted.items():
        torch.testing.assert_close(found[weight], g, rtol=1e-7, atol=1e-9)


def test_the_meta_gradient_is_that_of_proto_maml_written_out() -> None:
    """Inner slopes stop at the prototypes, the outer slope passes through them."""
    task = Blobs((12,)).tasks(1).single()
    learner = make("maml", head_init="prototype", inner_steps=2, inner_lr=0.1)
    names = ("network.backbone.layers.0.0.weight", "network.backbone.layers.0.0.bias")
    body = [learner.get_parameter(name) for name in names]

    def features(x: Any, weight: Tensor, bias: Tensor) -> Tensor:
        return F.linear(x, weight, bias).relu()

    first, labels = features(task.support.x, *body), task.support.labels
    means = torch.stack([first[labels == k].mean(0) for k in range(WAYS)])
    fast = [weight * 1 for weight in body] + [2 * means, -means.square().sum(1)]  # apart from what means are made by
    for _ in range(2):
        loss = F.cross_entropy(features(task.support.x, *fast[:2]) @ fast[2].T + fast[3], labels)
        slopes = torch.autograd.grad(loss, fast, create_graph=True)
        fast = [weight - 0.1 * slope for weight, slope in zip(fast, slopes, strict=True)]
    outer = F.cross_entropy(features(task.query.x, *fast[:2]) @ fast[2].T + fast[3], task.query.labels)
    found = engine_of(learner).meta_gradient([Blobs((12,)).tasks(1)]).gradient
    for name, g in zip(names, torch.autograd.grad(outer, body), strict=True):
        torch.testing.assert_close(found[name], g)


def test_what_has_no_means_is_refused() -> None:
    with pytest.raises(UsageError, match="no classes"):
        make("maml", family=Regression("waves", 1), head_init="prototype")
    with pytest.raises(UsageError, match="adapt=body"):
        make("maml", adapt="body", head_init="prototype")
