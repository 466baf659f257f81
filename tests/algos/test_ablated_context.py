"""What sees an example beside others, trained for a while with and without that.

Accuracies are of new classes at three ways, so that chance is 0.33; with other seeds they vary by less than 0.1.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from metamtl.algos.base import Learner
from metamtl.algos.mann import MANN
from metamtl.algos.matching import MatchingNet
from metamtl.algos.snail import SNAIL, Dense
from tests.algos.problems import Codes, Hints, family, labels_after_examples
from tests.algos.suite import engine_of, learn, make
from tests.algos.test_mann import forgetful


def accuracy(learner: Learner, problem: Codes, figure: str = "accuracy") -> float:
    """On 300 tasks that it has not seen."""
    return float(engine_of(learner.eval()).evaluate([problem.tasks(300, train=False)])[figure].mean())


# ---- MANN and its memory ----


def new_mann() -> MANN:
    options: dict[str, Any] = {"controller": 16, "slots": 12, "width": 12, "heads": 1, "usage_decay": 0.99}
    learner = make("mann", hidden=[], family=family(), protocol="episodic", **options)
    assert isinstance(learner, MANN)
    return learner


@pytest.fixture(scope="module")
def mann() -> MANN:
    learner = new_mann()
    learn(learner, Codes(), steps=100, rate=1e-2, tasks=32)
    return learner


def test_mann_learns_more_with_its_memory_than_without(mann: MANN) -> None:
    """What its controller alone can hold is found later and is less."""
    without = forgetful(new_mann())
    learn(without, Codes(), steps=100, rate=1e-2, tasks=32)
    found = accuracy(mann, Codes(seed=1))
    assert found > 0.85
    assert accuracy(without, Codes(seed=1)) < found - 0.15


def test_what_mann_learnt_is_in_its_memory(mann: MANN) -> None:
    assert accuracy(forgetful(copy.deepcopy(mann)), Codes(seed=1)) < 0.45


# ---- matching networks and their full context ----


def trained_matching(full_context: bool) -> MatchingNet:
    options: dict[str, Any] = {"full_context": full_context, "read_steps": 1, "distance": "euclidean", "scale": 1.0}
    learner = make("matching", hidden=[16], family=family(), **options)
    assert isinstance(learner, MatchingNet)
    learn(learner, Hints(), steps=160, rate=2e-2, tasks=32)
    return learner


@pytest.fixture(scope="module")
def matching() -> MatchingNet:
    return trained_matching(full_context=True)


def test_full_context_learns_what_examples_by_themselves_do_not_say(matching: MatchingNet) -> None:
    found, alone = (accuracy(learner, Hints(seed=1)) for learner in (matching, trained_matching(full_context=False)))
    assert found > 0.85
    assert alone < found - 0.2


def test_what_was_learnt_is_in_the_full_context(matching: MatchingNet) -> None:
    ablated = copy.deepcopy(matching)
    ablated.context = None
    assert accuracy(ablated, Hints(seed=1)) < 0.6


# ---- SNAIL and its temporal convolutions ----


def without_convolutions(learner: SNAIL) -> SNAIL:
    """The same learner, whose convolutions give nothing and learn nothing."""
    for block in learner.blocks:
        if isinstance(block, Dense):
            for weight in block.parameters():
                weight.requires_grad_(False).zero_()
    return learner


def new_snail() -> SNAIL:
    options: dict[str, Any] = {"filters": 8, "horizon": 2, "keys": [8, 8], "values": [8, 8]}
    learner = make("snail", hidden=[6], family=family(), **options)
    assert isinstance(learner, SNAIL)
    return learner


def outputs(learner: SNAIL, shown: torch.Tensor, labels: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """Logits of the queries [N, Q, ways] after sequences of features and labels [N, T, ...]."""
    found: torch.Tensor = torch.vmap(lambda x, y, q: learner.answer(learner.read(x, y), q))(shown, labels, queries)
    return found


def trained_snail(learner: SNAIL) -> SNAIL:
    """On sequences in which a label is the token after its example's."""
    weights = [w for name, w in learner.named_parameters() if w.requires_grad and not name.startswith("network")]
    optimizer = torch.optim.Adam(weights, lr=2e-2)
    for shown, labels, queries, classes in labels_after_examples(24, steps=120, seed=0):
        loss = F.cross_entropy(outputs(learner, shown, labels, queries).flatten(0, 1), classes.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return learner


def snails_accuracy(learner: SNAIL) -> float:
    ((*sequences, classes),) = labels_after_examples(500, steps=1, seed=1)
    return float((outputs(learner, *sequences).argmax(2) == classes).double().mean())


@pytest.fixture(scope="module")
def snail() -> SNAIL:
    return trained_snail(new_snail())


def test_snail_learns_what_came_before_by_its_convolutions(snail: SNAIL) -> None:
    """Attention alone looks up tokens one by one, and no token holds an example with its label."""
    found = snails_accuracy(snail)
    assert found > 0.85
    assert snails_accuracy(trained_snail(without_convolutions(new_snail()))) < found - 0.25


def test_what_snail_learnt_is_in_its_convolutions(snail: SNAIL) -> None:
    with torch.no_grad():
        assert snails_accuracy(without_convolutions(copy.deepcopy(snail))) < 0.55
