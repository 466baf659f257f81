"""Meta-SGD's learned rates: a step by hand, and what they are worth."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from metamtl.algos.metasgd import MetaSGD
from metamtl.errors import UsageError
from tests.algos.suite import Blobs, engine_of, figures_of_new_classes, learn, make


def metasgd(**changes: Any) -> MetaSGD:
    learner = make("metasgd", **changes)
    assert isinstance(learner, MetaSGD)
    return learner


def test_a_step_takes_each_weights_own_rate() -> None:
    learner, weights = metasgd(), {"head.bias": torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])}
    with torch.no_grad():
        learner.rates.values()["head.bias"].copy_(torch.tensor([0.1, -0.2, 0.0, 1.0, 0.5]))
    moved = learner.update(weights, {"head.bias": torch.full((5,), 2.0)}, 0)
    torch.testing.assert_close(moved["head.bias"].float(), torch.tensor([0.8, 2.4, 3.0, 2.0, 4.0]))


def test_equal_rates_are_maml() -> None:
    batch = Blobs((12,)).tasks(2)
    learner, maml = metasgd(initial_lr=[0.1, 0.1], inner_steps=3), make("maml", inner_lr=0.1, inner_steps=3)
    maml.load_state_dict({k: v for k, v in learner.state_dict().items() if k.startswith("network.")})
    found, wanted = (engine_of(one).meta_gradient([batch]).gradient for one in (learner, maml))
    for name, g in wanted.items():
        torch.testing.assert_close(found[name], g, rtol=1e-5, atol=1e-7)
    assert any(found[f"rates.{name}"].abs().max() > 0 for name in learner.inner_names)


def test_rates_are_drawn_from_their_range_for_the_layers_that_adapt() -> None:
    rates = metasgd(initial_lr=[0.005, 0.1], adapt="head").rates.values()
    assert set(rates) == {"head.weight", "head.bias"}
    flat = torch.cat([rate.detach().flatten() for rate in rates.values()])
    assert 0.005 <= float(flat.min()) < 0.02 and 0.08 < float(flat.max()) <= 0.1


def test_learning_the_rates_is_worth_something() -> None:
    """From rates of a hundredth, twenty updates learn more with their rates than with these held where they are."""

    def loss(learned: bool) -> float:
        learner, blobs = metasgd(initial_lr=[0.01, 0.01]), Blobs((12,))
        learner.rates.requires_grad_(learned)
        learn(learner, blobs, steps=20, rate=1e-2)
        return float(figures_of_new_classes(learner, blobs)["loss"].mean())

    assert loss(True) < loss(False) - 0.02


def test_a_range_has_two_ends() -> None:
    with pytest.raises(UsageError, match=r"initial_lr=\[0.1\].*\[low, high\]"):
        metasgd(initial_lr=[0.1])
    with pytest.raises(UsageError, match=r"initial_lr=\[0.5, 0.1\].*low <= high"):
        metasgd(initial_lr=[0.5, 0.1])


def test_it_learns_rates_of_both_signs() -> None:
    learner, blobs = metasgd(initial_lr=[0.0, 0.02]), Blobs((12,))
    learn(learner, blobs, steps=10, rate=1e-2)
    flat = torch.cat([rate.detach().flatten() for rate in learner.rates.values().values()])
    assert float(flat.min()) < 0 < float(flat.max())
