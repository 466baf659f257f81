"""Meta-Baseline: scaled cosines to class means, on an embedding that began as a classifier."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from metamtl.algos.metabaseline import MetaBaseline
from tests.algos.suite import TINY, Blobs, engine_of, figures_of_new_classes, learn, make


def metabaseline(**changes: float) -> MetaBaseline:
    learner = make("metabaseline", **changes)  # type: ignore[arg-type]
    assert isinstance(learner, MetaBaseline)
    return learner


def test_logits_are_scaled_cosines_to_class_means() -> None:
    learner = metabaseline(scale=3.0)
    generator = torch.Generator().manual_seed(0)
    support, queries = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (10, 7))
    labels = torch.arange(10) % 5
    means = torch.stack([support[labels == c].mean(0) for c in range(5)])
    wanted = 3 * F.cosine_similarity(queries.unsqueeze(1), means.unsqueeze(0), dim=2)
    torch.testing.assert_close(learner.score(learner.fit(support, labels, 5), queries), wanted)


def test_the_scale_is_learned_from_tasks_and_the_classifier_from_minibatches() -> None:
    learner, blobs = metabaseline(), Blobs(TINY["mlp"])
    engine = engine_of(learner)
    tasks = engine.meta_gradient([blobs.tasks(4)]).gradient
    examples = engine.minibatch_gradient(blobs.minibatch(), 0).gradient
    assert tasks["scale"] != 0 and not tasks["network.head.weight"].any()
    assert examples["scale"] == 0 and examples["network.head.weight"].any()
    assert tasks["network.backbone.layers.0.0.weight"].any() and examples["network.backbone.layers.0.0.weight"].any()


def test_each_of_its_stages_adds() -> None:
    """Without the one or the other it is a worse learner of the same length."""
    found = {}
    for kept in ("pretrain", "meta", "both"):
        learner, blobs = metabaseline(), Blobs(TINY["mlp"])
        learner.stages = [stage for stage in learner.stages if kept in (stage.name, "both")]
        learn(learner, blobs, steps=20, rate=1e-2)
        found[kept] = float(figures_of_new_classes(learner, Blobs(TINY["mlp"], seed=0), tasks=60)["loss"].mean())
    assert found["both"] < min(found["pretrain"], found["meta"]), found
