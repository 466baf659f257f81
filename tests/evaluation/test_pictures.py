"""What a finished run draws of one task, of its adaptation, and of its classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metamtl.build import Parts, build_parts
from metamtl.config.compose import compose
from metamtl.data.opening import open_source
from metamtl.engine.world import World
from metamtl.evaluation.pictures import adaptation, confusion_of_examples, draw_pictures, one_task
from metamtl.evaluation.protocol import evaluate_episodes
from metamtl.runs.task_plot import OneCurve, OneTask, confusion, plot_task
from tests.trainer.runs import Runs

FEW = ["eval.episodes=4", "eval.val_episodes=4", "trainer.device=cpu"]


def parts_of(tmp_path: Path, *changes: str) -> Parts:
    config = compose([*FEW, f"paths.cache={tmp_path / 'cache'}", *changes])
    return build_parts(config, open_source(config))


def test_the_curve_of_adaptation_is_what_tests_with_these_steps_give(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, "algo=maml", "data=sinusoid", "algo.test_steps=2")
    found = dict(adaptation(parts, 3))
    assert list(found) == list(range(11)) and found[0]["episodes"] == 3
    usual = evaluate_episodes(parts, World(0, 1), "val", 3)["mse"]
    assert found[2]["mean"] == pytest.approx(float(usual.mean()), rel=1e-12)
    assert found[0]["mean"] != found[2]["mean"]
    assert adaptation(parts_of(tmp_path, "algo=cnp", "data=sinusoid"), 3) == []


def test_one_task_of_numbers_is_its_points(tmp_path: Path) -> None:
    shown = one_task(parts_of(tmp_path, "algo=maml", "data=sinusoid", "task.shots=4", "task.queries=6"))
    assert isinstance(shown, OneCurve)
    assert shown.x.shape == shown.y.shape == (10,) and shown.outputs.shape == (6,)
    assert np.abs(shown.x).max() <= 5


@pytest.mark.parametrize("kind", ["maml", "protonet"])
def test_one_task_of_classes_is_its_features_and_answers(kind: str, runs: Runs, tmp_path: Path) -> None:
    config = runs.config(kind)
    parts = build_parts(config, open_source(config))
    shown = one_task(parts)
    assert isinstance(shown, OneTask) and shown.support == 3 * parts.test_shape.shots
    assert sorted(set(shown.labels.tolist())) == sorted({*shown.labels[: shown.support].tolist()}) == [0, 1, 2]
    assert shown.places.shape == (len(shown.labels), 2) and len(shown.predicted) == 9
    tested = evaluate_episodes(parts, World(0, 1), parts.config["eval"]["split"], 2)["accuracy"][0]
    assert np.mean(shown.predicted == shown.labels[shown.support :]) == pytest.approx(tested)
    draw_pictures(parts, tmp_path, "", 3)
    assert (tmp_path / "task.png").read_bytes().startswith(b"\x89PNG")


def test_confusion_of_labelled_examples_agrees_with_their_accuracy(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, "algo=joint", "data=digits", "backbone=mlp", "backbone.hidden=[8]")
    counts = confusion_of_examples(parts)
    accuracy = evaluate_episodes(parts, World(0, 1), "test", 2)["accuracy"]
    assert counts.sum() == len(accuracy) and counts.trace() / counts.sum() == pytest.approx(float(accuracy.mean()))
    draw_pictures(parts, tmp_path, "a-", 3)
    assert (tmp_path / "a-confusion.png").stat().st_size > 0


def test_nothing_to_show_draws_nothing(tmp_path: Path) -> None:
    assert plot_task(tmp_path / "task.png", None, [], "accuracy") is None
    assert list(tmp_path.iterdir()) == []


def test_confusion_counts_true_classes_by_predicted_ones() -> None:
    found = confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert found.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
