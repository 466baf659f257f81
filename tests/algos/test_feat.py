"""The set-to-set function against torch's attention, the contrastive term, and what the function changes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.feat import FEAT, SetTransformer
from metamtl.algos.protonet import class_means
from tests.algos.suite import WAYS, Blobs, engine_of, figures_of_new_classes, learn, make


def feat(**changes: Any) -> FEAT:
    learner = make("feat", **changes)
    assert isinstance(learner, FEAT)
    return learner


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_set_function_is_one_attention_added_and_normalised() -> None:
    """Equations 5 to 7, with torch's own attention."""
    torch.manual_seed(0)
    function, members = SetTransformer(6).double(), drawn(4, 6)
    parts = (layer(members).unsqueeze(0) for layer in (function.query, function.key, function.value))
    attended = function.output(F.scaled_dot_product_attention(*parts).squeeze(0))
    torch.testing.assert_close(function(members), F.layer_norm(members + attended, (6,)))


def test_a_set_has_no_order_and_every_member_counts() -> None:
    torch.manual_seed(0)
    function, members = SetTransformer(6).double(), drawn(4, 6)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(function(members[order]), function(members)[order])
    other = torch.cat([members[:3], members[3:] + 1])
    assert (function(other) - function(members)).abs().amax(1).min() > 1e-6


def test_those_apart_do_not_attend_to_one_another() -> None:
    torch.manual_seed(0)
    function, members, labels = SetTransformer(6).double(), drawn(5, 6), torch.tensor([0, 1, 0, 1, 1])
    found = function(members, labels.unsqueeze(0) == labels.unsqueeze(1))
    for c in range(2):
        torch.testing.assert_close(found[labels == c], function(members[labels == c]))


def test_the_loss_is_the_queries_and_the_contrastive_term() -> None:
    """Equation 8, class by class."""
    learner, task = feat(contrast=0.3, temperature=2.0, contrast_temperature=3.0), Blobs((12,)).tasks(1).single()
    support, query = learner.embedded(task)
    x, y = torch.cat([support, query]), torch.cat([task.support.labels, task.query.labels])
    centres = torch.stack([learner.adapted(x[y == c]).mean(0) for c in range(WAYS)])
    contrast = F.cross_entropy(-torch.cdist(x, centres).square() / 3, y)
    prototypes = learner.adapted(class_means(support, task.support.labels, WAYS))
    own = F.cross_entropy(-torch.cdist(query, prototypes).square() / 2, task.query.labels)
    torch.testing.assert_close(learner.outer_loss(task)[0], own + 0.3 * contrast)
    torch.testing.assert_close(learner.eval().outer_loss(task)[0], own)


def test_pretraining_leaves_the_set_function_out() -> None:
    """The classifier learns from minibatches, the set function from tasks; prototypes are plain while it is unused."""
    learner, blobs = feat(), Blobs((12,))
    first = engine_of(learner).minibatch_gradient(blobs.minibatch(), 0).gradient
    second = engine_of(learner).meta_gradient([blobs.tasks(2)]).gradient
    for name in first.keys() - {"adapted.key.bias"}:  # which adds the same to every attention
        assert bool(first[name].any()) is not name.startswith("adapted")
        assert bool(second[name].any()) is not name.startswith("network.head")
    features, labels = drawn(10, 32), torch.arange(10) % 5
    learner.stage = "pretrain"
    torch.testing.assert_close(learner.fit(features, labels, 5), class_means(features, labels, 5))


def test_the_set_function_takes_part_in_what_was_learnt() -> None:
    """Trained with it, the learner is worse without it."""
    learner, blobs = feat(temperature=8.0), Blobs((12,))
    learn(learner, blobs, steps=60, rate=1e-2)
    held_out = blobs.tasks(40, shots=1, train=False)
    learner.eval()
    adapted = engine_of(learner).evaluate([held_out])["loss"].mean()
    learner.stage = "pretrain"
    assert engine_of(learner).evaluate([held_out])["loss"].mean() > 1.1 * adapted
    assert figures_of_new_classes(learner, blobs)["accuracy"].mean() > 1 / WAYS


def test_each_of_its_stages_adds() -> None:
    """Without the one or the other it is a worse learner of the same length."""
    found = {}
    for kept in ("pretrain", "meta", "both"):
        learner, blobs = feat(temperature=8.0), Blobs((12,))
        learner.stages = [stage for stage in learner.stages if kept in (stage.name, "both")]
        learn(learner, blobs, steps=20, rate=1e-2)
        found[kept] = float(figures_of_new_classes(learner, Blobs((12,)), tasks=60)["loss"].mean())
    assert found["both"] < 0.9 * min(found["pretrain"], found["meta"]), found
