"""Properties that every learner has."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor

from metamtl.algos.base import Learner
from metamtl.backbones.norm import NormKind
from metamtl.data.family import Classification
from metamtl.data.task import Examples
from metamtl.engine.update import Update
from tests.algos.suite import (
    BLIND,
    CODED,
    EVERY,
    FIXED,
    MADE,
    NAMES,
    NOT_FLAT,
    ORDERED,
    QUICKER,
    SLOWER,
    TINY,
    TOO_SLOW,
    TRIALS,
    UNTRAINED,
    WAYS,
    Blobs,
    Trial,
    at_rate,
    begin,
    engine_of,
    figures_of_new_classes,
    learn,
    listed,
    make,
    names_with,
    option_of,
    options_of,
    outputs_of,
    update,
)

NORMS: tuple[NormKind, ...] = ("batch", "running", "group", "none")
every_learner = pytest.mark.parametrize("name", EVERY)
every_trained_learner = pytest.mark.parametrize("name", [name for name in EVERY if name not in UNTRAINED])
every_norm = pytest.mark.parametrize("norm", NORMS)


class Linear(Classification):
    """A loss that is linear in the outputs: minus the output of the right class."""

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        return -outputs.gather(1, examples.labels.unsqueeze(1)).mean()


def a_task(backbone: str = "mlp", seed: int = 3) -> tuple[Examples, Tensor, Examples]:
    """Support set, query inputs and query set of one task."""
    task = Blobs(TINY[backbone], seed).tasks(1).single()
    assert isinstance(task.query.x, Tensor)
    return task.support, task.query.x, task.query


# ---- what learners are ----


def test_the_methods_that_a_table_compares_are_among_them() -> None:
    metric = {"siamese", "matching", "protonet", "relation", "feat", "simpleshot", "r2d2", "metaoptnet"}
    descent = {
        "maml",
        "fomaml",
        "anil",
        "boil",
        "reptile",
        "metasgd",
        "metacurvature",
        "mamlpp",
        "imaml",
        "cavia",
        "leo",
    }
    memory = {"learned_optimizer", "mann", "metanet", "snail", "cnp"}
    baselines = {"baseline", "baselinepp", "rfs", "metabaseline", "centroid", "chance"}
    assert metric | descent | memory | baselines <= set(NAMES)


@every_learner
def test_it_is_built_from_its_config_and_says_what_it_does(name: str) -> None:
    learner = make(name)
    assert isinstance(learner, Learner) and learner.training
    assert learner.__doc__ and type(learner).__module__ == f"metamtl.algos.{option_of(name)}"
    assert {stage.stream for stage in learner.stages} <= {"episodes", "minibatches", "pairs"}
    trained = name not in UNTRAINED
    assert (len(learner.stages) > 0) == trained == bool(list(learner.parameters()))


# ---- inner steps ----


@pytest.mark.parametrize("training", [True, False])
@every_norm
@pytest.mark.parametrize("name", names_with("inner_steps", except_for=MADE, among=EVERY))
def test_zero_inner_steps_is_the_plain_network(name: str, norm: NormKind, training: bool) -> None:
    learner = make(name, "conv4", norm, inner_steps=0, test_steps=0).train(training)
    support, x, _ = a_task("conv4")
    assert torch.equal(outputs_of(learner, support, x), learner.network.query(x).detach())
    other = make(name, "conv4", norm).train(training)
    assert not torch.allclose(outputs_of(other, support, x), other.network.query(x).detach())


@pytest.mark.parametrize("name", names_with("inner_steps", "inner_lr", among=EVERY))
def test_zero_inner_rate_is_zero_inner_steps(name: str) -> None:
    support, x, _ = a_task()
    still, none = make(name, inner_lr=0.0), make(name, inner_steps=0)
    assert torch.equal(outputs_of(still, support, x), outputs_of(none, support, x))


@pytest.mark.parametrize("name", names_with("test_steps", "test_lr", among=EVERY))
def test_each_phase_has_its_own_steps_and_rate(name: str) -> None:
    support, x, _ = a_task()
    alike: dict[str, Any] = {key: None for key in options_of(name) if key.startswith("test_")}  # as in training
    learner = make(name, **{**alike, "inner_lr": 0.1, "inner_steps": 1, "test_lr": 0.2, "test_steps": 3})
    testing = make(name, inner_lr=0.2, inner_steps=3, **alike)
    assert torch.equal(outputs_of(learner.eval(), support, x), outputs_of(testing, support, x))
    same = make(name, inner_lr=0.1, inner_steps=1, **alike)
    assert torch.equal(outputs_of(learner.train(), support, x), outputs_of(same, support, x))
    assert torch.equal(outputs_of(same.eval(), support, x), outputs_of(same.train(), support, x))


# ---- order ----


@pytest.mark.parametrize("name", names_with("order", except_for=NOT_FLAT, among=EVERY))
def test_first_order_is_second_order_at_zero_curvature(name: str) -> None:
    """A linear model under a linear loss has no second derivative; under cross-entropy it has one."""

    def gradients(family: Classification, order: str) -> Update:
        learner = make(name, hidden=[], family=family, order=order, **at_rate(name, 0.5))
        return engine_of(learner).meta_gradient([Blobs((12,)).tasks(3)])

    flat = [gradients(Linear("blobs", WAYS), order) for order in ("first", "second")]
    curved = [gradients(Classification("blobs", WAYS), order) for order in ("first", "second")]
    for weight, g in flat[0].gradient.items():
        torch.testing.assert_close(flat[1].gradient[weight], g, rtol=1e-12, atol=1e-12)
    assert any(g.abs().max() > 0 for g in flat[0].gradient.values())
    assert any(not torch.allclose(curved[1].gradient[weight], g, rtol=1e-2) for weight, g in curved[0].gradient.items())


# ---- equivariance ----


def permute_head(learner: Learner, new: Tensor) -> None:
    """Gives class c's row of a head over the task's ways, and of what is learnt for it, to class new[c]."""
    with torch.no_grad():
        for name, weight in learner.named_parameters():
            if name.endswith(("head.weight", "head.bias")) and len(weight) == WAYS:
                weight[new] = weight.clone()


@pytest.mark.parametrize("name", [name for name in EVERY if not listed(name, CODED)])
def test_permuting_labels_permutes_outputs(name: str) -> None:
    support, x, query = a_task()
    new = torch.tensor([3, 0, 4, 1, 2])
    renamed = Examples(support.x, new[support.labels], WAYS)
    learner, other = make(name), make(name)
    permute_head(other, new)
    outputs = outputs_of(learner, support, x)
    assert outputs.shape == (len(x), WAYS)
    torch.testing.assert_close(outputs_of(other, renamed, x)[:, new], outputs, rtol=1e-9, atol=1e-9)
    same_labels = torch.allclose(outputs_of(other, support, x)[:, new], outputs, rtol=1e-2)
    assert same_labels == (name in BLIND)  # labels matter
    same = learner.family.loss(outputs, query)
    torch.testing.assert_close(other.family.loss(outputs[:, new.argsort()], Examples(x, new[query.labels], WAYS)), same)


@pytest.mark.parametrize("name", [name for name in EVERY if not listed(name, ORDERED)])
def test_the_order_of_examples_does_not_matter(name: str) -> None:
    support, x, _ = a_task()
    assert isinstance(support.x, Tensor)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    # one batch holds the support set
    whole: dict[str, Any] = {key: 25 for key in ("head_batch", "inner_batch") if key in options_of(name)}
    learner = make(name, **whole)
    shuffled = Examples(support.x[order], support.labels[order], WAYS)
    outputs = outputs_of(learner, support, x)
    torch.testing.assert_close(outputs_of(learner, shuffled, x), outputs, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(outputs_of(learner, support, x[order]), outputs[order], rtol=1e-9, atol=1e-9)


# ---- gradients and the task axis ----


@every_norm
@every_learner
def test_gradients_are_finite_and_there(name: str, norm: NormKind) -> None:
    """For every weight but those that this stage does not meet, in the precision that is trained in."""
    learner = make(name, "conv4", norm, torch.float32)
    blobs = Blobs(TINY["conv4"])
    engine, device = engine_of(learner), torch.device("cpu")
    for stage in learner.stages:
        begin(learner, stage)
        if stage.stream == "episodes":
            learner.float()
            found = engine.meta_gradient([blobs.tasks(3).to(device, torch.float32)])
        else:
            learner.double()
            found = update(engine, stage.stream, blobs, 0)
        assert all(torch.isfinite(g).all() for g in found.gradient.values())
        assert any(g.abs().max() > 0 for g in found.gradient.values())
        assert all(torch.isfinite(values).all() for values in found.figures.values())
        body = [name for name, g in found.gradient.items() if "backbone" in name and g.abs().max() == 0]
        assert body == []


@pytest.mark.parametrize("norm", ["batch", pytest.param("running", marks=pytest.mark.slow)])
@every_learner
def test_it_runs_alike_alone_and_vectorised(name: str, norm: NormKind) -> None:
    """Losses always, and meta-gradients where it trains on tasks; other ways and shots than the last batch's too."""
    learner, blobs = make(name, "conv4", norm), Blobs(TINY["conv4"])
    batches = [blobs.tasks(3), blobs.tasks(2, shots=5 if name in FIXED else 1)]
    loop, vectorised = engine_of(learner, "loop"), engine_of(learner, "vmap")
    if any(stage.stream == "episodes" for stage in learner.stages):
        found, wanted = vectorised.meta_gradient(batches), loop.meta_gradient(batches)
        largest = max(float(g.abs().max()) for g in wanted.gradient.values())
        for weight, g in wanted.gradient.items():
            torch.testing.assert_close(found.gradient[weight], g, rtol=1e-9, atol=1e-12 * largest)
    learner.eval()
    figures = loop.evaluate(batches)
    assert figures["loss"].shape == (5,)
    torch.testing.assert_close(vectorised.evaluate(batches), figures, rtol=1e-9, atol=1e-12)


# ---- state ----


@every_trained_learner
def test_its_state_survives_a_save(name: str) -> None:
    learner, other = make(name, "conv4", "running"), make(name, "conv4", "running", seed=1)
    learn(learner, Blobs(TINY["conv4"]), steps=1, rate=0.1)
    learner.network.update_running([(mean + 1, var + 1) for mean, var in _averages(learner)])
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    support, x, _ = a_task("conv4")
    for one in (learner, other):
        one.eval()
    outputs = outputs_of(learner, support, x)
    assert not torch.allclose(outputs_of(other, support, x), outputs)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(outputs_of(other, support, x), outputs)


def _averages(learner: Learner) -> list[tuple[Tensor, Tensor]]:
    return [(layer.running_mean, layer.running_var) for layer in learner.network._norms]


# ---- learning ----


@pytest.mark.parametrize("name", [name for name in EVERY if not listed(name, UNTRAINED | TOO_SLOW)])
def test_it_learns_a_tiny_problem(name: str) -> None:
    """New classes of 5-way 5-shot blobs to 85% (but for declared trials), and to less than 50% untrained."""
    trial = TRIALS.get(name) or TRIALS.get(option_of(name), Trial())
    learner, blobs = make(name, **trial.changes), Blobs(TINY["mlp"])
    assert float(figures_of_new_classes(learner, blobs)["accuracy"].mean()) < 0.5
    learn(learner, blobs, steps=60 if listed(name, QUICKER) else SLOWER.get(option_of(name), 120), rate=1e-2)
    assert float(figures_of_new_classes(learner, blobs)["accuracy"].mean()) > trial.accuracy
