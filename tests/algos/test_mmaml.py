"""MMAML: a task's modulation by hand, exact gradients through it, and what it is worth where tasks have two modes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.mmaml import MMAML
from metamtl.backbones.text import TextEncoder
from metamtl.data.batch import Preparation
from metamtl.data.family import Classification, Regression
from metamtl.data.functions import Functions
from metamtl.data.source import DataPaths, TaskShape
from metamtl.data.task import Examples, Task, TaskBatch
from metamtl.errors import UsageError
from metamtl.registry import build
from tests.algos.suite import TINY, WAYS, Blobs, engine_of, make, options_of
from tests.algos.test_maml import linear_task


def mmaml(backbone: str = "mlp", moved: float = 0.1, **changes: Any) -> MMAML:
    """With generators away from zero, so that its tasks are modulated."""
    learner = make("mmaml", backbone, "batch" if backbone == "conv4" else "none", **changes)
    assert isinstance(learner, MMAML)
    with torch.no_grad():
        for weight in learner.generators.parameters():
            weight.normal_(0, moved, generator=torch.Generator().manual_seed(1))
    return learner


def a_task(shape: tuple[int, ...] = (12,)) -> Task:
    return Blobs(shape).tasks(1).single()


# ---- the modulation ----


def test_it_is_mamls_network_at_first_and_where_it_may_not_modulate() -> None:
    """So MMAML with its generators held at zero is MAML, update by update."""
    batch, maml = Blobs((12,)).tasks(3), make("maml")
    learner = make("mmaml")
    learner.load_state_dict(maml.state_dict(), strict=False)
    found, wanted = (engine_of(one).meta_gradient([batch]).gradient for one in (learner, maml))
    for name, g in wanted.items():
        torch.testing.assert_close(found[name], g, rtol=1e-12, atol=1e-15)
    assert all(found[name].abs().max() > 0 for name in found if name.startswith("generators"))


def test_each_layer_is_scaled_and_shifted_before_it_is_rectified() -> None:
    learner, task = mmaml(hidden=[6, 5]), a_task()
    weights, tau = dict(learner.network.named_parameters()), learner.modulation(task.support)
    assert isinstance(task.query.x, Tensor)
    h = task.query.x
    for number in range(2):
        layer = f"backbone.layers.{number}"
        h = F.linear(h, weights[f"{layer}.0.weight"], weights[f"{layer}.0.bias"])
        h = (h * (1 + tau[f"{layer}.1.scale"]) + tau[f"{layer}.1.shift"]).relu()
    torch.testing.assert_close(learner.network.support(task.query.x, tau, head=False), h)
    assert all(value.abs().max() > 0.01 for value in tau.values())


def test_maps_are_modulated_after_their_norm() -> None:
    learner, task = mmaml("conv4"), a_task(TINY["conv4"])
    tau, block = learner.modulation(task.support), learner.network.backbone.get_submodule("blocks.0")
    assert isinstance(block, torch.nn.Sequential)
    assert isinstance(task.query.x, Tensor)
    normal = block.get_submodule("1.norm")(block[0](task.query.x))
    scale, shift = (tau[f"backbone.blocks.0.1.{part}"].view(-1, 1, 1) for part in ("scale", "shift"))
    wanted = F.max_pool2d(normal * (1 + scale) + shift, 2).relu()
    seen: list[Tensor] = []
    block.register_forward_hook(lambda module, x, y: seen.append(y))
    learner.network.support(task.query.x, tau)
    torch.testing.assert_close(seen[-1], wanted)


def test_the_embedding_reads_targets_and_no_names_of_classes() -> None:
    points = linear_task(0).support
    learner = mmaml(family=Regression("line", 2))
    features = learner.network.support(points.x, head=False)
    wanted = torch.tanh(learner.encoder(torch.cat([features, points.labels], 1)).mean(0))
    torch.testing.assert_close(learner.embed(points), wanted)
    assert not torch.allclose(learner.embed(Examples(points.x, -points.labels)), wanted, rtol=1e-2)
    classes, support = mmaml(), a_task().support
    renamed = Examples(support.x, (support.labels + 1) % WAYS, WAYS)
    assert torch.equal(classes.embed(renamed), classes.embed(support))


@pytest.mark.parametrize("of_words", [False, True])
def test_texts_are_modulated_word_by_word_and_padding_stays_nothing(of_words: bool) -> None:
    body = TextEncoder(input_shape=(7, 2), vocabulary=50, width=8, blocks=2, readout="mean", norm="group")
    body.of_words = of_words
    options = {**options_of("mmaml"), "inner_steps": 1}
    learner = build("algo", options, backbone=body, family=Classification("texts", WAYS), norm="group")
    with torch.no_grad():
        for weight in learner.generators.parameters():
            weight.normal_()
    x = torch.randint(1, 50, (10, 7, 2), generator=torch.Generator().manual_seed(0))
    x[:, 4:] = 0
    tau = learner.modulation(Examples(x, torch.arange(10) % WAYS, WAYS))
    words = learner.network.support(x, tau, head=False)
    if of_words:
        assert words.shape == (10, 7, 8) and not words[:, 4:].any()
    plain = learner.network.support(x, head=False)
    assert not torch.allclose(words, plain, rtol=1e-2)


# ---- the inner steps ----


@pytest.mark.parametrize("head_init", ["learned", "prototype"])
def test_inner_steps_move_the_weights_under_a_modulation_that_stays(head_init: str) -> None:
    """Algorithm 1: the slope in theta alone, though the modulation is made of theta too."""
    learner, task = mmaml(inner_steps=2, inner_lr=0.3, head_init=head_init), a_task()
    tau = {name: value.detach() for name, value in learner.modulation(task.support).items()}
    features = learner.network.support(task.support.x, tau, head=False).detach()
    fast = {name: weight.detach() for name, weight in learner.initial_weights(task.support, features).items()}
    for _ in range(2):
        points = {name: weight.clone().requires_grad_() for name, weight in fast.items()}
        outputs = learner.network.support(task.support.x, {**points, **tau})
        slopes = torch.autograd.grad(learner.family.loss(outputs, task.support), list(points.values()))
        fast = {name: weight - 0.3 * slope for (name, weight), slope in zip(fast.items(), slopes, strict=True)}
    found = learner.adapt(task.support).weights
    for name, weight in {**fast, **tau}.items():
        torch.testing.assert_close(found[name].detach(), weight)


def test_the_meta_gradient_agrees_with_finite_differences() -> None:
    """In a direction through all weights: initial ones, encoder and generators."""
    learner, batch = mmaml(inner_steps=2), Blobs((12,)).tasks(2)
    engine, weights = engine_of(learner), dict(learner.named_parameters())
    found = engine.meta_gradient([batch]).gradient
    generator = torch.Generator().manual_seed(0)
    for part in ("network.", "encoder.", "generators."):
        way = {n: torch.randn(w.shape, generator=generator).to(w) for n, w in weights.items() if n.startswith(part)}
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                for name, direction in way.items():
                    weights[name].add_(sign * 1e-5 * direction)
            ends.append(float(engine.evaluate([batch])["loss"].sum()))
            with torch.no_grad():
                for name, direction in way.items():
                    weights[name].sub_(sign * 1e-5 * direction)
        slope = sum(float((found[name] * direction).sum()) for name, direction in way.items())
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(slope, rel=1e-5)


# ---- what it is worth ----


@cache
def mixture() -> Functions:
    return Functions(paths=DataPaths(None, Path("unused")), kinds=["sinusoid", "linear"], noise=0.0)


def functions(split: Any, first: int, count: int) -> TaskBatch:
    """Sine waves and lines, five points to learn from; eleven of the network's inputs are zero."""
    numbers, prepare = np.arange(first, first + count), Preparation({}, torch.device("cpu"), torch.float32)
    (arrays,) = mixture().episodes(split, TaskShape(1, 5, 10), numbers, 1)
    batch = prepare.batch(arrays)
    support, query = (Examples(F.pad(one.x, (0, 11)), one.y) for one in (batch.support, batch.query))  # type: ignore[arg-type]
    return TaskBatch(support, query, batch.number)


def errors(modulates: bool) -> Tensor:
    """On 200 held-out functions, after 150 updates of 20 tasks."""
    options: dict[str, Any] = {"inner_lr": 0.01, "inner_steps": 1, "dtype": torch.float32}
    learner = make("mmaml", hidden=[40, 40], family=Regression("functions", 1), **options)
    assert isinstance(learner, MMAML)
    learner.generators.requires_grad_(modulates)
    engine, weights = engine_of(learner), {n: w for n, w in learner.named_parameters() if w.requires_grad}
    optimizer = torch.optim.Adam(weights.values(), lr=3e-3)
    for step in range(150):
        update = engine.meta_gradient([functions("train", 20 * step, 20)])
        for name, weight in weights.items():
            weight.grad = update.gradient[name] / update.tasks
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
    return engine_of(learner.eval()).evaluate([functions("test", 0, 200)])["mse"]


def test_a_mixture_of_waves_and_lines_is_learnt_better_with_modulation_than_without() -> None:
    """Without it is MAML (above), at the same updates on the same tasks; the difference is paired."""
    difference = errors(modulates=False) - errors(modulates=True)
    interval = 1.96 * float(difference.std()) / len(difference) ** 0.5
    assert float(difference.mean()) > interval > 0


# ---- refusals ----


def test_a_backbone_without_layers_to_modulate_is_refused() -> None:
    with pytest.raises(UsageError, match=r"algo=mmaml .* none that it knows"):
        make("mmaml", hidden=[])
