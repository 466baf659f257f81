"""What learns how to take inner steps, trained for a while with and without that.

Accuracies are of 40 tasks of new classes, at five ways; with other seeds they vary by less than 0.06.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from metamtl.algos.base import Learner
from metamtl.algos.leo import LEO
from tests.algos.suite import Blobs, figures_of_new_classes, learn, make

MARGIN = 0.25


@dataclass(frozen=True)
class Mechanism:
    """The options and rate that a learner is trained with, and the names of what it learns to step by."""

    options: Mapping[str, Any]
    rate: float
    weights: tuple[str, ...]


MECHANISMS = {
    "learned_optimizer": Mechanism(
        {"units": 4, "initial_lr": 0.011, "inner_steps": 5}, 5e-2, ("lstm", "forget_gate", "input_gate")
    ),
    "mamlpp": Mechanism(
        {"initial_lr": 0.01, "inner_steps": 5, "multi_step_share": 0.1, "per_step_norm": False}, 1e-2, ("rates",)
    ),
    "metacurvature": Mechanism({"inner_lr": 0.03, "inner_steps": 5}, 3e-2, ("curvature",)),
}
LEO_OPTIONS: dict[str, Any] = {
    "code": 8,
    "code_steps": 5,
    "code_lr": 3.0,
    "weight_steps": 5,
    "weight_lr": 0.01,
    "divergence": 1e-3,
    "code_penalty": 1e-9,
    "orthogonality": 0.1,
}


def accuracy(learner: Learner) -> float:
    """On the same tasks for every learner, of other classes than it was trained on."""
    blobs = Blobs((12,))
    blobs.generator.manual_seed(1)  # not the tasks that it was trained on, under new names
    return float(figures_of_new_classes(learner, blobs)["accuracy"].mean())


def trained(name: str, rate: float, without: tuple[str, ...] = (), **options: Any) -> Learner:
    """After forty updates, of all weights but those `without` which it is to do."""
    learner = make(name, **options)
    for weight_name, weight in learner.named_parameters():
        if weight_name.startswith(without):
            weight.requires_grad_(False)
    learn(learner, Blobs((12,)), steps=40, rate=rate)
    return learner


@pytest.fixture(scope="module", params=MECHANISMS)
def case(request: pytest.FixtureRequest) -> tuple[str, Learner]:
    """The name of a learner with such a mechanism, and it trained with all that it has."""
    mechanism = MECHANISMS[request.param]
    return request.param, trained(request.param, mechanism.rate, **mechanism.options)


def test_it_learns_more_with_its_mechanism_than_without(case: tuple[str, Learner]) -> None:
    """The same updates with its way of taking steps held where it starts, which is gradient descent."""
    name, learner = case
    mechanism = MECHANISMS[name]
    held = trained(name, mechanism.rate, mechanism.weights, **mechanism.options)
    learnt = accuracy(learner)
    assert learnt > 0.65
    assert accuracy(held) < learnt - MARGIN


def test_what_it_learnt_is_in_its_mechanism(case: tuple[str, Learner]) -> None:
    """From the initial weights that it learnt, the steps that it started with lead to less."""
    name, learner = case
    mechanism, ablated, new = MECHANISMS[name], copy.deepcopy(learner), make(name, **MECHANISMS[name].options)
    first = {key: w for key, w in new.state_dict().items() if key.startswith(mechanism.weights)}
    assert first
    ablated.load_state_dict(first, strict=False)
    assert accuracy(ablated) < accuracy(learner) - MARGIN


@pytest.fixture(scope="module")
def leo() -> LEO:
    learner = trained("leo", 1e-2, **LEO_OPTIONS)
    assert isinstance(learner, LEO)
    return learner


def test_leo_learns_more_with_its_inner_steps_than_without(leo: LEO) -> None:
    learnt = accuracy(leo)
    assert learnt > 0.8
    none = {**LEO_OPTIONS, "code_steps": 0, "weight_steps": 0}
    assert accuracy(trained("leo", 1e-2, **none)) < learnt - MARGIN


def test_leos_steps_on_codes_do_most_of_what_it_learnt(leo: LEO) -> None:
    """Without them its other steps, on decoded weights, are left with a worse start."""
    ablated = copy.deepcopy(leo)
    ablated.code_steps = 0
    assert accuracy(ablated) < accuracy(leo) - 0.15
    ablated.weight_steps = 0
    assert accuracy(ablated) < accuracy(leo) - MARGIN
