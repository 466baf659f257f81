"""Sources of ordinary labelled examples, and their families where labels are missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metamtl.config.compose import compose
from metamtl.data.digits import TARGETS, Digits
from metamtl.data.examples import ExampleSource
from metamtl.data.labelled import LabelledClasses, LabelledNumbers, family_of
from metamtl.data.source import DataPaths, Split, TaskShape
from metamtl.data.task import Examples
from metamtl.errors import MetamtlError, UsageError
from metamtl.families import build_families
from metamtl.opening import open_sources


def source(splits: dict[Split, Any] | None = None, **changes: Any) -> ExampleSource:
    x, y = np.arange(20, dtype=np.float32).reshape(10, 2), np.arange(10) % 3
    divided = splits or {"train": np.arange(6), "val": np.arange(6, 8), "test": np.arange(8, 10)}
    return ExampleSource(
        name="made", kind="classification", x=x, y=y, splits=divided, output_size=3, **{"facts": {}, **changes}
    )


def test_an_example_of_two_splits_is_refused() -> None:
    with pytest.raises(MetamtlError, match="in two splits"):
        source({"train": np.arange(6), "val": np.array([5, 6]), "test": np.array([7])})


def test_minibatches_pass_through_the_split_once_an_epoch_and_depend_on_the_step_alone() -> None:
    made = source()
    epochs = [
        np.concatenate([made.minibatch("train", 2, step, 7)[0] for step in range(3 * e, 3 * e + 3)]) for e in (0, 1)
    ]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert list(epochs[0]) != list(epochs[1])
    items, labels = source().minibatch("train", 4, 5, 7)
    again, same = made.minibatch("train", 4, 5, 7)
    assert np.array_equal(items, again) and np.array_equal(labels, same)
    assert np.array_equal(labels, items % 3)


def test_it_has_no_tasks_and_says_what_to_take() -> None:
    with pytest.raises(UsageError, match="algo=joint"):
        source().episodes("train", TaskShape(2, 1, 1), np.arange(1), 0)
    assert source({"train": np.arange(4), "val": np.arange(0), "test": np.arange(4, 6)}).problems(
        "val", TaskShape(2, 1, 1)
    )


@pytest.mark.parametrize("algo", ["protonet", "maml", "centroid"])
def test_a_method_that_learns_from_tasks_is_refused_before_a_run_begins(algo: str) -> None:
    pytest.importorskip("sklearn")
    config = compose([f"algo={algo}", "data=digits", "backbone.hidden=[4]"])
    with pytest.raises(UsageError, match=rf"algo={algo} learns from few-shot tasks, of which digits-digit has none"):
        build_families(config, open_sources(config))


def test_the_fingerprint_follows_content_and_splits() -> None:
    other: dict[Split, Any] = {"train": np.arange(1, 6), "val": np.array([6, 7, 0]), "test": np.arange(8, 10)}
    assert source().fingerprint == source().fingerprint
    assert source().fingerprint != source(other).fingerprint


def test_fewer_labels_leave_the_test_examples_what_they_were() -> None:
    whole, fewer = source(), source(labels=3, val_labels=1)
    assert whole.fingerprint != fewer.fingerprint
    same = [whole.split_fingerprint(split) == fewer.split_fingerprint(split) for split in ("train", "val", "test")]
    assert same == [False, False, True]
    other = source({"train": np.arange(6), "val": np.arange(6, 8), "test": np.array([9])})
    assert other.split_fingerprint("test") != whole.split_fingerprint("test")
    with pytest.raises(UsageError, match="has no val split"):
        source({"train": np.arange(6), "test": np.array([9])}).split_fingerprint("val")


@pytest.mark.parametrize("kind", [LabelledClasses, LabelledNumbers])
def test_a_missing_label_takes_no_part(kind: Callable[..., Any]) -> None:
    """Neither in the loss nor in its gradient nor in the figures."""
    torch.manual_seed(0)
    family = kind("made", 3)
    outputs = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    if kind is LabelledClasses:
        y, part = torch.tensor([0, -1, 2, -1]), torch.tensor([0, 2])
        missing = torch.full((4,), -1)
    else:
        y = torch.randn(4, 3, dtype=torch.float64)
        y[[1, 3]] = torch.nan
        part, missing = y[[0, 2]], torch.full((4, 3), torch.nan, dtype=torch.float64)
    loss = family.loss(outputs, Examples(torch.zeros(4), y))
    torch.testing.assert_close(loss, family.loss(outputs[[0, 2]], Examples(torch.zeros(2), part)))
    (slope,) = torch.autograd.grad(loss, outputs)
    assert slope.isfinite().all() and not slope[[1, 3]].any() and slope[[0, 2]].any()
    none = family.loss(outputs, Examples(torch.zeros(4), missing))
    assert none == 0 and not torch.autograd.grad(none, outputs)[0].any()
    figures = family.metrics(outputs, Examples(torch.zeros(4), missing))
    assert all(value.isnan() for value in figures.values())


@pytest.mark.parametrize("target", TARGETS)
def test_digits_are_divided_once_for_all_questions(target: str, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    paths = DataPaths(None, tmp_path)
    made = Digits(paths=paths, target=target, components=50, split_seed=0)
    digit = Digits(paths=paths, target="digit", components=50, split_seed=0)
    splits: tuple[Split, ...] = ("train", "val", "test")
    assert [len(made.items(split)) for split in splits] == [1078, 359, 360]
    everything = np.concatenate([made.items(split) for split in splits])
    assert len(np.unique(everything)) == 1797
    assert all(np.array_equal(made.items(split), digit.items(split)) for split in splits)
    assert np.array_equal(made.targets(everything), TARGETS[target](digit.targets(everything)).astype(np.int64))
    x = made.gather(made.items("train"))
    assert isinstance(x, np.ndarray) and x.shape == (1078, 50)
    np.testing.assert_allclose(np.cov(x.T), np.eye(50), atol=1e-4)  # components of the training digits, unit variance
    assert family_of(made).outputs == (10 if target == "digit" else 2)


def test_digits_that_are_nowhere_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install scikit-learn"):
        Digits(paths=DataPaths(tmp_path, tmp_path), target="odd", components=None, split_seed=0)
