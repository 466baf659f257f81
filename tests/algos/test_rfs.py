"""RFS: its head sees normalised features, and each generation fits labels and the one before."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.logistic import logistic_regression
from metamtl.algos.rfs import RFS
from metamtl.engine.update import Update
from tests.algos.suite import TINY, Blobs, engine_of, make


def rfs(backbone: str = "mlp", norm: str = "none", **changes: object) -> RFS:
    learner = make("rfs", backbone, norm, **changes)  # type: ignore[arg-type]
    assert isinstance(learner, RFS)
    return learner


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def minibatch(learner: RFS) -> Update:
    return engine_of(learner).minibatch_gradient(Blobs((12,)).minibatch(16), step=0)


def test_the_head_is_logistic_regression_on_features_of_length_one() -> None:
    features, labels, queries = drawn(10, 6), torch.arange(10) % 5, drawn(8, 6, seed=1)
    learner, plain = rfs(penalty=0.5), rfs(penalty=0.5, normalise=False)
    rule = learner.fit(features, labels, 5)
    wanted = logistic_regression(F.normalize(features, dim=1), labels, 5, 0.5, learner.head_steps)
    torch.testing.assert_close(rule, wanted)
    longer = 7 * queries
    torch.testing.assert_close(learner.score(rule, longer), learner.score(rule, queries))
    rule = plain.fit(features, labels, 5)
    assert not torch.allclose(plain.score(rule, longer), plain.score(rule, queries), rtol=0.1)


def test_each_generation_is_a_stage() -> None:
    assert [stage.name for stage in rfs().stages] == ["pretrain"]
    assert [stage.name for stage in rfs(generations=2).stages] == ["pretrain", "distill1", "distill2"]
    assert {stage.stream for stage in rfs(generations=2).stages} == {"minibatches"}


def test_a_generation_begins_anew_under_what_was_trained() -> None:
    learner = rfs("conv4", "running", generations=2)
    assert learner.teacher is not None
    first = {name: w.clone() for name, w in learner.network.state_dict().items()}
    names = {name for name, _ in learner.named_parameters()}
    with torch.no_grad():
        for weight in learner.network.parameters():
            weight.add_(1)
    learner.begin_stage("pretrain")
    trained = {name: w.clone() for name, w in learner.network.state_dict().items()}
    learner.begin_stage("distill1")
    assert all(torch.equal(w, trained[name]) for name, w in learner.teacher.state_dict().items())
    began = {name: w.clone() for name, w in learner.network.state_dict().items()}
    for name, weight in began.items():  # the entries of the first beginning, in another order
        assert torch.equal(weight.flatten().sort().values, first[name].flatten().sort().values)
    assert not torch.equal(began["head.weight"], first["head.weight"])
    learner.begin_stage("distill2")
    assert not torch.equal(learner.network.state_dict()["head.weight"], began["head.weight"])
    assert {name for name, _ in learner.named_parameters()} == names  # the teacher is none of them
    assert not any(name.startswith("teacher") for name in names)


def test_the_teachers_outputs_take_part_in_the_loss() -> None:
    """In float64 against the formula; without them it is supervised training."""
    learner, plain = rfs(generations=1, temperature=3.0, distill_weight=0.3), rfs()
    learner.stage = plain.stage = "pretrain"
    torch.testing.assert_close(minibatch(learner).figures, minibatch(plain).figures)
    learner.stage = "distill1"
    learner.begin_stage("distill1")
    assert learner.teacher is not None
    examples = Blobs((12,)).minibatch(16).examples
    outputs, taught = learner.network.query(examples.x), learner.teacher.query(examples.x)
    softened = (taught / 3).softmax(1)
    kl = (softened * (softened.log() - (outputs / 3).log_softmax(1))).sum(1).mean()
    wanted = 0.7 * F.cross_entropy(outputs, examples.labels) + 0.3 * 9 * kl
    found = minibatch(learner)
    torch.testing.assert_close(found.figures["loss"][0], wanted.detach())
    gradients = torch.autograd.grad(wanted, list(learner.parameters()))
    for (name, _), g in zip(learner.named_parameters(), gradients, strict=True):
        torch.testing.assert_close(found.gradient[name] / found.tasks, g)


def test_the_teacher_is_as_it_is_at_test() -> None:
    """Its normalisation uses its averages, which a minibatch does not move, though the learner is training."""
    learner = rfs("conv4", "running", generations=1).train()
    learner.begin_stage("distill1")
    learner.stage = "distill1"
    assert learner.teacher is not None
    before = {name: w.clone() for name, w in learner.teacher.state_dict().items()}
    examples = Blobs(TINY["conv4"]).minibatch(8).examples
    learner.minibatch_loss(examples)
    taught = learner.teacher.query(examples.x)
    assert isinstance(examples.x, Tensor)
    torch.testing.assert_close(torch.cat([learner.teacher.query(one) for one in torch.split(examples.x, 1)]), taught)
    assert all(torch.equal(w, before[name]) for name, w in learner.teacher.state_dict().items())


@pytest.mark.parametrize("generations", [0, 1])
def test_a_saved_learner_is_the_same(generations: int) -> None:
    learner, other = rfs(generations=generations), rfs(generations=generations, seed=1)
    for stage in learner.stages:
        learner.begin_stage(stage.name)
    other.load_state_dict(learner.state_dict())
    assert all(torch.equal(w, learner.state_dict()[name]) for name, w in other.state_dict().items())
