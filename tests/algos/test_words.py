"""Properties of learners over the features of words, where a family labels words."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.baseline import Baseline
from metamtl.algos.embedding import EmbeddingLearner
from metamtl.data.task import Examples
from metamtl.errors import UsageError
from metamtl.registry import lookup
from tests.algos.sentences import Sentences
from tests.algos.suite import (
    NAMES,
    TAGGERS,
    engine_of,
    figures_of_new_classes,
    learn,
    make,
    options_of,
    update,
)

OVER_FEATURES = [name for name in NAMES if issubclass(lookup("algo", name), EmbeddingLearner)]
every_tagger = pytest.mark.parametrize("name", TAGGERS)


def tagger(name: str, seed: int = 0, **changes: object) -> EmbeddingLearner:
    options = {**TAGGERS[name].changes, **changes}
    learner = make(name, "text", family=Sentences().family, seed=seed, **options)
    assert isinstance(learner, EmbeddingLearner)
    return learner


def f1_of(learner: EmbeddingLearner) -> float:
    return float(figures_of_new_classes(learner, Sentences())["f1"].mean())


@pytest.mark.parametrize("name", [name for name in OVER_FEATURES if name not in TAGGERS])
def test_others_say_that_they_compare_whole_examples(name: str) -> None:
    with pytest.raises(UsageError, match=f"algo={name} compares whole examples, not words: take protonet, baseline"):
        make(name, family=Sentences().family)


def test_chance_guesses_no_words() -> None:
    with pytest.raises(UsageError, match=r"algo=chance guesses the class of an example.* algo=maml trainer\.steps=0"):
        make("chance", "text", family=Sentences().family)


@every_tagger
def test_what_is_no_word_does_not_count(name: str) -> None:
    """Places without a label, whatever their features, leave the rule as it is."""
    learner = tagger(name, **({"head_batch": 60} if "head_batch" in options_of(name) else {}))  # one batch holds all
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 8, generator=generator, dtype=torch.float64)
    labels = torch.arange(60) % 4
    mixed, unknown = features.clone(), labels.clone()
    mixed[::3], unknown[::3] = 100.0, -1
    known = unknown >= 0
    queries = torch.randn(9, 8, generator=generator, dtype=torch.float64)
    wanted = learner.score(learner.fit(features[known], labels[known], 4), queries)
    torch.testing.assert_close(learner.score(learner.fit(mixed, unknown, 4), queries), wanted, rtol=1e-6, atol=1e-8)
    every = learner.score(learner.fit(features, labels, 4), queries)
    assert not torch.allclose(every, wanted, rtol=1e-3)


@every_tagger
def test_words_are_met_alike_alone_and_vectorised(name: str) -> None:
    learner, sentences = tagger(name), Sentences()
    batches = [sentences.tasks(3), sentences.tasks(2, shots=1)]
    loop, vectorised = engine_of(learner, "loop"), engine_of(learner, "vmap")
    if any(stage.stream == "episodes" for stage in learner.stages):
        found, wanted = vectorised.meta_gradient(batches), loop.meta_gradient(batches)
        for weight, g in wanted.gradient.items():
            torch.testing.assert_close(found.gradient[weight], g, rtol=1e-9, atol=1e-12)
    learner.eval()
    torch.testing.assert_close(vectorised.evaluate(batches), loop.evaluate(batches), rtol=1e-9, atol=1e-12)


@every_tagger
def test_it_learns_to_tell_types_that_it_has_not_met(name: str) -> None:
    """By what it learnt before: the same rule on features as they began finds them far less well."""
    learner = tagger(name)
    before = f1_of(learner)
    learn(learner, Sentences(), steps=60, rate=1e-2)
    assert f1_of(learner) > max(TAGGERS[name].accuracy, before + 0.25)


@pytest.mark.parametrize("name", ["baseline", "baselinepp"])
def test_without_a_trained_head_no_entity_is_found(name: str) -> None:
    """Equal outputs call every word one of no entity."""
    learner = tagger(name, head_epochs=0)
    learn(learner, Sentences(), steps=60, rate=1e-2)
    assert f1_of(learner) == 0


def test_pretraining_is_a_tagger_of_all_types() -> None:
    """Mean cross-entropy over the words of a minibatch, by a head with an output for every type and for none."""
    learner, minibatch = tagger("baseline"), Sentences().minibatch(8)
    examples, head = minibatch.examples, learner.network.head
    assert isinstance(learner, Baseline) and isinstance(head, torch.nn.Linear) and isinstance(examples.x, Tensor)
    assert head.out_features == Sentences().types + 1
    outputs = head(learner.network.backbone(examples.x))
    known = examples.labels >= 0
    loss = F.cross_entropy(outputs[known], examples.labels[known])
    found = engine_of(learner).minibatch_gradient(minibatch, 0)
    torch.testing.assert_close(found.figures["loss"][0], loss.detach())
    assert {"f1", "precision", "recall"} <= found.figures.keys()


def test_what_is_no_word_is_not_distilled() -> None:
    """The loss of a later generation against the formula over words."""
    learner = tagger("rfs", generations=1, temperature=3.0, distill_weight=0.3)
    learner.begin_stage("distill1")
    learner.stage = "distill1"
    teacher = learner.teacher
    assert isinstance(teacher, torch.nn.Module)
    examples: Examples = Sentences().minibatch(8).examples
    known = examples.labels >= 0
    outputs = learner.network.query(examples.x)[known]
    taught = teacher.query(examples.x)[known]  # type: ignore[operator]
    softened = (taught / 3).softmax(1)
    kl = (softened * (softened.log() - (outputs / 3).log_softmax(1))).sum(1).mean()
    wanted = 0.7 * F.cross_entropy(outputs, examples.labels[known]) + 0.3 * 9 * kl
    found = update(engine_of(learner), "minibatches", Sentences(), 0)
    assert found.figures["loss"].shape == (64,)
    torch.testing.assert_close(learner.minibatch_loss(examples)[0], wanted)
