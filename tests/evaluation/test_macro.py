"""Precision and recall of labelled examples, over all classes alike, against scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import vmap

from metamtl.build import build_parts
from metamtl.config.compose import compose
from metamtl.data.labelled import LabelledClasses
from metamtl.data.opening import open_source
from metamtl.data.task import Examples
from metamtl.engine.world import World
from metamtl.evaluation.examples import outputs_of_examples
from metamtl.evaluation.protocol import evaluate_episodes
from metamtl.evaluation.ratios import with_ratios
from metamtl.runs.result import summary
from tests.trainer.runs import Runs

metrics = pytest.importorskip("sklearn.metrics")
CLASSES = 5


def by_scikit_learn(y: NDArray[np.int64], answers: NDArray[np.int64]) -> dict[str, float]:
    return {
        "precision": metrics.precision_score(y, answers, average="macro", zero_division=0),
        "recall": metrics.recall_score(y, answers, average="macro", zero_division=0),
    }


def of_split(family: LabelledClasses, outputs: Tensor, y: Tensor) -> dict[str, NDArray[np.float64]]:
    """The figures [n] of a split, as the evaluation takes them from the counts of single examples."""

    def one(output: Tensor, label: Tensor) -> dict[str, Tensor]:
        return family.counts(output.unsqueeze(0), Examples(output.unsqueeze(0), label.unsqueeze(0)))

    counts = vmap(one)(outputs, y)
    return with_ratios({name: values.double().numpy() for name, values in counts.items()}, family.ratios)


def drawn(count: int, classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    """Outputs [n, classes] that are right more often than not, and classes [n]."""
    torch.manual_seed(0)
    y = torch.randint(classes, (count,))
    return torch.randn(count, classes) + 1.5 * torch.eye(classes)[y], y


def with_a_class_that_none_is_taken_for(outputs: Tensor, y: Tensor) -> None:
    outputs[:, 1] = -9.0


def with_a_class_that_none_has(outputs: Tensor, y: Tensor) -> None:
    y[y == 2] = 0
    assert (outputs.argmax(1) == 2).any()


def with_a_class_of_neither_kind(outputs: Tensor, y: Tensor) -> None:
    with_a_class_that_none_is_taken_for(outputs, y)
    y[y == 1] = 3


def as_they_are(outputs: Tensor, y: Tensor) -> None:
    pass


@pytest.mark.parametrize(
    "change",
    [
        as_they_are,
        with_a_class_that_none_is_taken_for,
        with_a_class_that_none_has,
        with_a_class_of_neither_kind,
    ],
)
def test_they_are_scikit_learn_s(change: Callable[[Tensor, Tensor], None]) -> None:
    outputs, y = drawn(200)
    change(outputs, y)
    found = of_split(LabelledClasses("made", CLASSES), outputs, y)
    assert found.keys() == {"precision", "recall"} and all(len(values) == 200 for values in found.values())
    wanted = by_scikit_learn(y.numpy(), outputs.argmax(1).numpy())
    assert {name: values.mean() for name, values in found.items()} == pytest.approx(wanted, rel=1e-12)
    assert found["precision"].mean() != pytest.approx(found["recall"].mean(), rel=1e-3)


def test_a_missing_label_is_not_counted() -> None:
    outputs, y = drawn(60)
    known = torch.arange(60) % 3 > 0
    found = of_split(LabelledClasses("made", CLASSES), outputs, torch.where(known, y, -1))
    wanted = by_scikit_learn(y[known].numpy(), outputs[known].argmax(1).numpy())
    assert {name: values.mean() for name, values in found.items()} == pytest.approx(wanted, rel=1e-12)


def test_none_is_taken_for_a_class_outside_the_group_that_it_is_told_to_be_of() -> None:
    outputs, y = drawn(200)
    groups = [[0, 1], [2, 3, 4]]
    first = (y < 2).unsqueeze(1)
    answers = outputs.masked_fill(first != (torch.arange(CLASSES) < 2), -99.0).argmax(1)
    found = of_split(LabelledClasses("made", CLASSES, groups), outputs, y)
    wanted = by_scikit_learn(y.numpy(), answers.numpy())
    assert {name: values.mean() for name, values in found.items()} == pytest.approx(wanted, rel=1e-12)


def test_their_intervals_are_the_bootstrap_s() -> None:
    outputs, y = drawn(400, 3)
    found = of_split(LabelledClasses("made", 3), outputs, y)
    labels, answers = y.numpy(), outputs.argmax(1).numpy()
    draw = np.random.default_rng(0)
    samples = [by_scikit_learn(labels[chosen], answers[chosen]) for chosen in draw.integers(0, 400, (600, 400))]
    for name, values in found.items():
        spread = np.std([one[name] for one in samples])
        assert summary(values)["ci95"] == pytest.approx(1.96 * spread, rel=0.1)


@pytest.mark.parametrize("target", ["digit", "prime"])
def test_a_test_of_labelled_examples_has_them_and_few_shot_tasks_have_not(
    target: str, tmp_path: Path, runs: Runs
) -> None:
    small = ["backbone.hidden=[8]", f"paths.cache={tmp_path}", "trainer.device=cpu"]
    config = compose(["algo=joint", "data=digits", f"data.target={target}", *small])
    parts = build_parts(config, open_source(config))
    figures = evaluate_episodes(parts, World(0, 1), "test", 4)
    assert figures.keys() == {"loss", "accuracy", "precision", "recall"}
    with parts.testing():
        outputs, examples = outputs_of_examples(parts, parts.source.items("test"))  # type: ignore[attr-defined]
    wanted = by_scikit_learn(examples.labels.numpy(), outputs.argmax(1).numpy())
    assert {name: figures[name].mean() for name in wanted} == pytest.approx(wanted, rel=1e-12)
    episodic = runs.config("protonet")
    tasks = evaluate_episodes(build_parts(episodic, open_source(episodic)), World(0, 1), "test", 2)
    assert tasks.keys() == {"loss", "accuracy"}
