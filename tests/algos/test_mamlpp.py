"""What MAML++ adds to MAML, part by part; with all of it off it is MAML."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from metamtl.algos.mamlpp import MAMLPlusPlus
from metamtl.config.compose import compose
from tests.algos.suite import TINY, Blobs, engine_of, make, outputs_of

PLAIN = {"learned_rates": False, "multi_step_share": 0.0, "per_step_norm": False}


def mamlpp(**changes: Any) -> MAMLPlusPlus:
    learner = make("mamlpp", "conv4", "batch", **{"inner_steps": 3, **changes})
    assert isinstance(learner, MAMLPlusPlus)
    return learner


def gradients(learner: torch.nn.Module) -> dict[str, torch.Tensor]:
    return engine_of(learner).meta_gradient([Blobs(TINY["conv4"]).tasks(2)]).gradient  # type: ignore[arg-type]


def differs(learner: MAMLPlusPlus, other: MAMLPlusPlus) -> bool:
    found, wanted = gradients(learner), gradients(other)
    return any(not torch.allclose(found[name], g, rtol=1e-3) for name, g in wanted.items())


@pytest.mark.parametrize("order", ["first", "second"])
def test_without_its_parts_it_is_maml(order: str) -> None:
    maml = make("maml", "conv4", "batch", inner_steps=3, inner_lr=0.1, order=order)
    found, wanted = gradients(mamlpp(**PLAIN, initial_lr=0.1, order=order)), gradients(maml)
    assert found.keys() == wanted.keys()
    for name, g in wanted.items():
        torch.testing.assert_close(found[name], g, rtol=1e-5, atol=1e-7)


def test_each_layer_and_step_has_its_rate() -> None:
    learner, weights = mamlpp(), {"head.bias": torch.ones(5)}
    with torch.no_grad():
        learner.rates.values()["head.bias"].copy_(torch.tensor([0.1, 0.2, 0.3]))
    moved = [
        float(learner.update(weights, {"head.bias": torch.ones(5)}, step)["head.bias"][0].detach()) for step in range(5)
    ]
    assert moved == pytest.approx([0.9, 0.8, 0.7, 0.7, 0.7])  # steps beyond the trained ones take the last rates
    found = gradients(learner)
    assert (found["rates.head.bias"] != 0).all()
    assert not any(name.startswith("rates.") for name in gradients(mamlpp(learned_rates=False)))


@pytest.mark.parametrize("progress", [0.0, 0.05, 0.099, 0.1, 0.9])
def test_the_loss_moves_to_the_last_step(progress: float) -> None:
    learner = mamlpp(multi_step_share=0.1)
    learner.progress = progress
    shares = learner.loss_weights()
    assert sum(shares) == pytest.approx(1)
    wanted = {0.0: 1 / 3, 0.05: 1 / 6, 0.099: 0.01, 0.1: 0.0, 0.9: 0.0}[progress]
    assert shares[:2] == pytest.approx([wanted, wanted])


def test_the_multi_step_loss_is_the_weighted_sum_of_the_losses_after_each_step() -> None:
    learner, task = mamlpp(multi_step_share=1.0), Blobs(TINY["conv4"]).tasks(1).single()
    learner.progress = 0.4
    losses = [
        learner.family.loss(learner.network.query(task.query.x, weights), task.query)
        for weights in list(learner.path(task.support))[1:]
    ]
    wanted = 0.2 * losses[0] + 0.2 * losses[1] + 0.6 * losses[2]
    torch.testing.assert_close(learner.outer_loss(task)[0], wanted)
    torch.testing.assert_close(learner.eval().outer_loss(task)[0], losses[-1])


def test_each_step_has_its_norms_which_the_inner_loop_leaves_alone() -> None:
    learner, task = mamlpp(), Blobs(TINY["conv4"]).tasks(1).single()
    assert isinstance(task.query.x, torch.Tensor)
    name = "backbone.blocks.1.1.weight"  # the last: a norm after it would take the scale out again
    *_, weights = learner.path(task.support)
    assert torch.equal(weights[name], learner.network.get_parameter(name))  # the copies start alike
    before = outputs_of(learner, task.support, task.query.x)
    with torch.no_grad():
        learner.norms.values()[f"2.{name}"].mul_(1.5)
    *_, middle, weights = learner.path(task.support)
    assert torch.equal(weights[name], 1.5 * middle[name])
    assert not torch.allclose(outputs_of(learner, task.support, task.query.x), before, rtol=1e-3)
    learner.progress = 1.0  # the last step's loss alone meets them all
    found = {name: g for name, g in gradients(learner).items() if name.startswith("norms.")}
    layers = ("backbone.blocks.0.1", "backbone.blocks.1.1")
    assert found.keys() == {f"norms.{n}.{of}.{part}" for n in (1, 2) for of in layers for part in ("weight", "bias")}
    assert all(g.abs().max() > 0 for g in found.values())


@pytest.mark.parametrize("part", ["multi_step_share", "first_order_share"])
def test_its_parts_act_while_they_should(part: str) -> None:
    learner, other = mamlpp(**{**PLAIN, part: 0.5}), mamlpp(**PLAIN)
    learner.progress = 0.2
    assert differs(learner, other)
    learner.progress = 0.5
    assert not differs(learner, other)


def test_its_outer_rate_follows_a_cosine() -> None:
    """Section 4, CA."""
    assert compose(["algo=mamlpp", "data=glyphs"])["trainer"]["schedule"]["name"] == "cosine"
