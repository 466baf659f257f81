"""LEO's codes, steps and penalties against their formulas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from metamtl.algos.leo import _CODES, LEO, normal
from metamtl.backbones.noise import mix
from metamtl.data.family import Regression
from metamtl.data.task import Task, TaskBatch
from metamtl.engine.plan import usual_plan
from metamtl.engine.tasks import Engine
from metamtl.engine.update import Update
from metamtl.errors import UsageError
from tests.algos.suite import Blobs, make


def leo(**changes: Any) -> LEO:
    learner = make("leo", **changes)
    assert isinstance(learner, LEO)
    return learner


KEY = torch.tensor(5)  # of a task's noise
DRAWN = mix(KEY, _CODES)


def loss_of(learner: LEO, task: Task) -> Tensor:
    with learner.network.task(KEY):
        return learner.outer_loss(task)[0]


def a_support_set(learner: LEO) -> tuple[Tensor, Tensor]:
    task = Blobs((12,)).tasks(1).single()
    features = learner.network.support(task.support.x, head=False).detach()
    return F.normalize(features, dim=1), task.support.labels


def test_a_code_is_the_mean_over_all_pairs_with_its_class() -> None:
    """Equation 1, pair by pair."""
    learner = leo(code=3)
    features, labels = a_support_set(learner)
    hidden = learner.encoder(features)
    rows = [learner.relation(torch.cat([a, b])) for a in hidden[labels == 2] for b in hidden]
    mean, log_deviation = learner.encode(features, labels, 5)
    torch.testing.assert_close(torch.cat([mean[2], log_deviation[2]]), torch.stack(rows).mean(0))


@pytest.mark.parametrize("part", ["code", "weight"])
def test_its_steps_are_torchs_gradient_descent(part: str) -> None:
    learner = leo(**{"code_steps": 0, "weight_steps": 0, f"{part}_steps": 3, f"{part}_lr": 0.5})
    features, labels = a_support_set(learner)
    start = learner.encode(features, labels, 5)[0].detach()
    value = (start.clone() if part == "code" else learner.decoder(start).detach()).requires_grad_()
    optimizer = torch.optim.SGD([value], lr=0.5)
    for _ in range(3):
        weights = learner.decoder(value) if part == "code" else value
        (value.grad,) = torch.autograd.grad(F.cross_entropy(features @ weights.T, labels), [value])
        optimizer.step()
    wanted = learner.decoder(value) if part == "code" else value
    found = learner.fit(features, labels, 5)
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, learner.decoder(start), rtol=1e-3)  # without its steps it decodes otherwise


def test_the_length_of_features_has_no_effect() -> None:
    learner = leo()
    features, labels = a_support_set(learner)
    rule = learner.fit(features, labels, 5)
    torch.testing.assert_close(learner.fit(30 * features, labels, 5), rule)
    torch.testing.assert_close(learner.score(rule, 30 * features), features @ rule.T)


def test_the_outer_loss_has_its_penalties() -> None:
    """Equation 6; each term is the whole difference that its weight makes."""
    task = Blobs((12,)).tasks(1).single()
    none = {"divergence": 0.0, "code_penalty": 0.0, "orthogonality": 0.0}
    plain = leo(**none)
    support, _ = plain.embedded(task)
    found = plain.solve(support, task.support.labels, 5, DRAWN)
    codes, standard = Normal(found.mean, found.log_deviation.exp()), Normal(0.0, 1.0)
    decoder = F.normalize(plain.decoder.weight, dim=0)
    terms = {
        "divergence": kl_divergence(codes, standard).mean(),
        "code_penalty": (found.last - found.first).square().mean(),
        "orthogonality": (decoder.T @ decoder - torch.eye(64)).square().mean(),
    }
    for name, term in terms.items():
        assert float(term.detach()) > 0
        more = loss_of(leo(**{**none, name: 1.0}), task) - loss_of(plain, task)
        torch.testing.assert_close(more, term)


def test_the_outer_gradient_passes_through_the_inner_steps() -> None:
    """By finite differences of the encoder and of the features, whose slopes without it are others."""
    learner = leo(code=4, code_steps=3, weight_steps=3, code_lr=0.5, weight_lr=0.5)
    for number in (1, 3):
        learner.relation[number] = torch.nn.Tanh()  # a difference across a kink is no slope
    features, labels = a_support_set(learner)
    queries, places = features.flip(1).clone(), [learner.encoder.weight, features.requires_grad_()]
    generator = torch.Generator().manual_seed(0)
    along = [torch.randn(place.shape, generator=generator, dtype=torch.float64) for place in places]

    def loss() -> Tensor:
        return F.cross_entropy(queries @ learner.fit(features, labels, 5).T, labels)

    for place, direction in zip(places, along, strict=True):
        found = (torch.autograd.grad(loss(), place)[0] * direction).sum()
        with torch.no_grad():
            start, values = place.clone(), []
            for step in (1e-5, -1e-5):
                place.copy_(start + step * direction)
                values.append(loss())
            place.copy_(start)
        torch.testing.assert_close(found, (values[0] - values[1]) / 2e-5, rtol=1e-6, atol=1e-10)


def test_the_code_penalty_draws_the_first_codes_to_the_last() -> None:
    """Equation 6: the codes after their steps are constants of it, so it says nothing to these steps' rate."""
    options = {"code": 4, "divergence": 0.0, "orthogonality": 0.0}
    task, gradients = Blobs((12,)).tasks(1).single(), []
    for code_penalty in (0.0, 1.0):
        learner = leo(**options, code_penalty=code_penalty)
        loss_of(learner, task).backward()  # type: ignore[no-untyped-call]
        gradients.append({name: w.grad for name, w in learner.named_parameters() if w.grad is not None})
    added = {name: gradients[1][name] - g for name, g in gradients[0].items()}
    support, _ = learner.embedded(task)
    found = learner.solve(support, task.support.labels, 5, DRAWN)
    apart = (found.first - found.last.detach()).square().mean()
    (wanted,) = torch.autograd.grad(apart, learner.encoder.weight)
    assert float(wanted.abs().max()) > 1e-4
    torch.testing.assert_close(added["encoder.weight"], wanted, rtol=1e-6, atol=1e-9)
    for name in ("code_lr", "decoder.weight"):
        torch.testing.assert_close(added[name], torch.zeros_like(added[name]), rtol=0, atol=1e-12)


def test_codes_are_drawn_in_training_alone_for_each_task_and_seed() -> None:
    learner, batch = leo(), Blobs((12,)).tasks(1)
    plan = usual_plan("loop", 1, "full", torch.device("cpu"))
    other = replace(batch, number=batch.number + 1)

    def loss(tasks: TaskBatch, seed: int) -> float:
        engine = Engine(learner, learner.network, plan, noise_seed=seed)
        update = engine.meta_gradient([tasks]) if learner.training else engine.evaluate([tasks])
        figures = update.figures if isinstance(update, Update) else update
        return float(figures["loss"].mean())

    assert loss(batch, 0) == loss(batch, 0)
    assert len({loss(batch, 0), loss(batch, 1), loss(other, 0)}) == 3
    learner.eval()
    assert loss(batch, 0) == loss(other, 1)


def test_noise_is_standard_normal() -> None:
    drawn = normal(torch.tensor(3), torch.zeros(200, 100, dtype=torch.float64)).flatten()
    assert abs(float(drawn.mean())) < 0.02 and abs(float(drawn.std()) - 1) < 0.02
    assert abs(float((drawn.abs() < 1).double().mean()) - 0.6827) < 0.01


def test_data_without_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="algo=leo"):
        make("leo", family=Regression("waves", 1))
