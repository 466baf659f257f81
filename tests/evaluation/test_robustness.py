"""Disturbed inputs and wrong labels, and what a task costs: against what is known of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metamtl.build import Parts
from metamtl.config.compose import compose
from metamtl.data.examples import ExampleSource
from metamtl.data.source import IntArray
from metamtl.data.task import Examples
from metamtl.engine.world import World
from metamtl.evaluation import report, robustness
from metamtl.evaluation.disturbances import INPUTS, WRONG_LABELS, blurred, mislabelled, noisy, rotated
from metamtl.evaluation.examples import figures_of_examples
from metamtl.evaluation.protocol import evaluate_episodes
from metamtl.families import Families, build_families
from metamtl.opening import open_sources
from metamtl.runs.folder import RunFolder
from metamtl.trainer.run import train_run

SMALL = ("trainer.device=cpu", "eval.episodes=6", "eval.val_episodes=4", "eval.gap_episodes=0", "task.queries=2")
LETTERS = ("data=glyphs", "algo=protonet", "backbone.width=4", *SMALL)
DIGITS = ("data=digits", "algo=joint", "backbone=mlp", "backbone.hidden=[6]", "trainer.device=cpu")


def built(*options: str) -> Families:
    config = compose([*options])
    return build_families(config, open_sources(config))


def test_noise_is_measured_in_deviations_of_the_inputs() -> None:
    x = 3 * torch.randn(4, 50, 1, 9, 9) + 7
    for severity in (0.2, 1.0):
        change = noisy(x, severity, seed=1) - x
        assert float(change.std() / x.std()) == pytest.approx(severity, rel=0.02)
        assert torch.equal(noisy(x, severity, seed=1) - x, change)
    assert not torch.equal(noisy(x, 0.2, seed=2), noisy(x, 0.2, seed=1))


def test_blur_is_a_gaussian_over_continued_borders() -> None:
    ndimage = pytest.importorskip("scipy.ndimage", reason="scipy is no dependency; it is here where scikit-learn is")
    x = torch.rand(2, 3, 1, 20, 14, dtype=torch.float64)
    wanted = ndimage.gaussian_filter(x.numpy(), 0.05 * 20, axes=(-2, -1), mode="nearest", radius=3)
    np.testing.assert_allclose(blurred(x, 0.05, seed=0).numpy(), wanted, atol=1e-12)


@pytest.mark.parametrize("shape", [(21, 21), (12, 30)])
def test_pictures_are_turned_about_their_middle_and_keep_their_shape(shape: tuple[int, int]) -> None:
    height, width = shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    rows, columns = rows - (height - 1) / 2.0, columns - (width - 1) / 2.0
    plane = (0.3 * rows + columns).view(1, 1, 1, height, width).expand(1, 6, 1, height, width)
    turned = rotated(plane, 30.0, seed=0)
    inner = rows.abs().clamp(min=1).square() + columns.square() < (min(shape) / 2 - 2) ** 2  # away from borders
    seen = set()
    for picture in turned[0, :, 0]:
        for way in (-1, 1):
            sine, cosine = way * math.sin(math.pi / 6), math.cos(math.pi / 6)
            wanted = 0.3 * (sine * columns + cosine * rows) + cosine * columns - sine * rows
            if torch.allclose(picture[inner], wanted[inner], atol=1e-4):
                seen.add(way)
                break
        else:
            raise AssertionError("turned neither way")
    assert seen == {-1, 1}


@pytest.mark.parametrize(("ways", "shots", "share", "wrong"), [(5, 1, 0.2, 2), (5, 1, 0.4, 2), (5, 4, 0.2, 4)])
def test_labels_are_exchanged_between_classes(ways: int, shots: int, share: float, wrong: int) -> None:
    labels = torch.arange(ways).repeat_interleave(shots).expand(30, -1)
    changed = mislabelled(Examples(torch.zeros(30, ways * shots, 2), labels, ways), share, seed=3).labels
    assert torch.equal(changed.sort(1).values, labels.sort(1).values)  # every class keeps its number
    counts = (changed != labels).sum(1)
    assert int(counts.max()) == wrong and float(counts.double().mean()) > 0.9 * wrong
    assert len(set(map(tuple, changed.tolist()))) > 5  # others in other tasks


def test_the_first_point_is_the_test_itself_and_the_others_are_of_the_same_tasks() -> None:
    parts = built(*LETTERS).first
    found = robustness.robustness(parts, World(0, 1), "test", 6)
    clean = evaluate_episodes(parts, World(0, 1), "test", 6)["accuracy"]
    assert list(found) == ["noise", "blur", "rotation", "support_labels"]
    for name, points in found.items():
        assert points[0]["severity"] == 0 and points[0]["mean"] == pytest.approx(clean.mean())
        severities = WRONG_LABELS if name == "support_labels" else INPUTS[name][1]
        assert [point["severity"] for point in points[1:]] == list(severities)
        assert all(point["episodes"] == 6 and 0 <= point["mean"] <= 1 for point in points)
    assert robustness.robustness(parts, World(0, 1), "test", 6) == found


def test_examples_are_drawn_from_the_whole_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files may list them class by class; `eval.seed` draws, and a count beyond the split takes all."""
    parts, seen = built("algo=joint", "data=digits", "backbone.hidden=[8]").first, []
    assert isinstance(parts.source, ExampleSource)
    every = parts.source.items("test").tolist()
    monkeypatch.setattr(robustness, "_disturbances", lambda parts: [])

    def heard(parts: Parts, items: IntArray, inputs: Any) -> dict[str, Tensor]:
        seen.extend(items.tolist())
        return figures_of_examples(parts, items, inputs)

    monkeypatch.setattr(robustness, "figures_of_examples", heard)
    robustness.robustness(parts, World(0, 1), "test", 50)
    assert len(set(seen)) == 50 and set(seen) <= set(every) and set(seen) != set(every[:50])
    first = list(seen)
    seen.clear()
    robustness.robustness(parts, World(0, 1), "test", len(every) + 1)
    assert sorted(seen) == sorted(every) and seen[:50] == first


def test_only_queries_are_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, seen = built(*LETTERS).first, []
    original = parts.engine.evaluate

    def evaluate(batches: Any) -> Any:
        seen.extend(batches)
        return original(batches)

    monkeypatch.setattr(parts.engine, "evaluate", evaluate)
    robustness.robustness(parts, World(0, 1), "test", 3)
    first, noise, *_, last = seen
    assert torch.equal(noise.support.x, first.support.x) and torch.equal(noise.support.labels, first.support.labels)
    assert not torch.equal(noise.query.x, first.query.x) and torch.equal(noise.query.labels, first.query.labels)
    assert torch.equal(last.query.x, first.query.x) and not torch.equal(last.support.labels, first.support.labels)


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        (DIGITS, ["noise"]),  # components of pictures
        (("algo=maml", "data=sinusoid", "task.shots=3", *SMALL), ["noise"]),
    ],
)
def test_what_can_be_done_follows_from_the_data(options: tuple[str, ...], kinds: list[str]) -> None:
    assert list(robustness.robustness(built(*options).first, World(0, 1), "test", 20)) == kinds


def test_the_result_and_a_picture_have_them(tmp_path: Path) -> None:
    asked = ("eval.robustness=4", "eval.cost=true", "trainer.steps=2", "trainer.validate_every=2", "trainer.pictures=0")
    run = train_run(compose([*LETTERS, *asked, f"paths.outputs={tmp_path}"]), ["metamtl"])
    assert isinstance(run, RunFolder)
    result: Any = json.loads(run.result_file.read_text())
    assert result["robustness"]["blur"][0]["mean"] == result["robustness"]["noise"][0]["mean"]
    assert result["metric"] == "accuracy" and result["train"]["step_ms"] > 0
    assert (run.plots / "robustness.png").stat().st_size > 10_000


def test_without_being_asked_for_there_are_none() -> None:
    result, _ = report.tested(built(*LETTERS), World(0, 1), lambda done, of: None)
    assert "robustness" not in result and "cost" not in result


@pytest.mark.parametrize("workers", [1, 2])
def test_operations_are_those_of_the_layers(workers: int) -> None:
    waves = ("algo=maml", "data=sinusoid", "task.shots=10", *SMALL, "algo.test_steps=1", f"trainer.workers={workers}")
    result, _ = report.tested(built(*waves, "eval.cost=true"), World(0, 1), lambda done, of: None)
    layers = 2 * (1 * 40 + 40 * 40 + 40 * 1)  # of one example forward
    slopes = layers + 2 * (40 * 40 + 40 * 1)  # by all weights, and by what the two last layers are given
    assert result["cost"]["flops"] == 10 * (layers + slopes) + 2 * layers
    assert result["cost"]["latency_ms"] > 0 and result["cost"]["peak_mb"] > 50
    digits, _ = report.tested(built(*DIGITS, "eval.cost=true"), World(0, 1), lambda done, of: None)
    assert digits["cost"]["flops"] == 2 * (50 * 6 + 6 * 10)
