"""Adapting a finished run from Python: it answers as the run's own test does, and its threshold is what it says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import metamtl
from metamtl.data.opening import open_source, task_shape
from metamtl.data.sampler import eval_key
from metamtl.data.source import EpisodeArrays
from metamtl.deploy.model import Model
from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.files import read_json, write_json
from metamtl.runs.folder import RunFolder
from metamtl.runs.result import read_episodes
from tests.trainer.runs import Runs

KINDS = ("protonet", "maml", "baseline")
CLASSES = 3


def tasks(run: Path, count: int) -> list[EpisodeArrays]:
    """The run's own first test tasks, one in each."""
    config = RunFolder.open(run).config()
    source, shape = open_source(config), task_shape(config["task"])
    key = eval_key(config["eval"]["seed"], source, "test", shape)
    return [source.episodes("test", shape, np.array([number]), key)[0] for number in range(count)]


def pictures(seed: int, shots: int) -> tuple[NDArray[np.uint8], list[str]]:
    """Noisy patterns of CLASSES classes, `shots` of each, and their names."""
    patterns = np.random.default_rng(7).integers(0, 200, (CLASSES, 16, 16))
    noise = np.random.default_rng(seed).integers(0, 56, (CLASSES, shots, 16, 16))
    x = (patterns[:, None] + noise).astype(np.uint8).reshape(-1, 16, 16)
    return x, [f"class {c}" for c in range(CLASSES) for _ in range(shots)]


@pytest.mark.parametrize("kind", KINDS)
def test_adapting_to_the_runs_own_tasks_gives_the_runs_own_figures(runs: Runs, kind: str) -> None:
    run = runs.finished(kind)
    model = metamtl.load(run, device="cpu")
    found = []
    for task in tasks(run, 20):
        predictor = model.adapt(task.support_x[0], task.support_y[0], threshold="off", transductive=True)
        found.append(np.mean(np.array(predictor.predict(task.query_x[0]).labels) == task.query_y[0]))
    np.testing.assert_allclose(found, read_episodes(RunFolder(run))["accuracy"], atol=1e-6)


def test_what_was_chosen_on_validation_is_what_adapts(runs: Runs, tmp_path: Path) -> None:
    run = runs.finished("sinusoid", "algo.test_steps=0", "eval.choose={test_steps: [2, 3]}")
    task = tasks(run, 1)[0]
    values = metamtl.load(run, device="cpu").regress(task.support_x[0], task.support_y[0]).predict(task.query_x[0])
    error = np.mean((values - task.query_y[0]) ** 2)
    np.testing.assert_allclose(error, read_episodes(RunFolder(run))["mse"][0], rtol=1e-5)

    untested = runs.copy(run, tmp_path)
    (untested / "result.json").unlink()
    model = metamtl.load(untested, device="cpu")
    (note,) = model.notes
    assert "has not been tested yet, so eval.choose has not decided test_steps" in note
    assert model.parts.config["algo"]["test_steps"] == 0


def test_a_regression_run_fits_points(runs: Runs) -> None:
    run = runs.finished("sinusoid")
    model = metamtl.load(run, device="cpu")
    errors = []
    for task in tasks(run, 20):
        values = model.regress(task.support_x[0], task.support_y[0]).predict(task.query_x[0])
        errors.append(np.mean((values - task.query_y[0]) ** 2))
    np.testing.assert_allclose(errors, read_episodes(RunFolder(run))["mse"], rtol=1e-5)
    one_number = model.regress(task.support_x[0][:, 0], task.support_y[0][:, 0]).predict(task.query_x[0][:, 0])
    np.testing.assert_array_equal(one_number, values)


def test_what_is_said_of_an_example(runs: Runs) -> None:
    x, y = pictures(0, shots=3)
    z, names = pictures(1, shots=4)
    predictor = metamtl.load(runs.finished("protonet"), device="cpu").adapt(x, y)
    found = predictor.predict(z)
    assert found.labels == names
    assert found.classes == ["class 0", "class 1", "class 2"]
    assert [found.classes[best] for best in found.probabilities.argmax(1)] == found.labels
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-12)
    np.testing.assert_array_equal(found.unknown, found.scores < predictor.threshold.value)
    strange = predictor.predict(np.random.default_rng(2).integers(0, 256, (20, 16, 16)).astype(np.uint8))
    assert strange.unknown.mean() > found.unknown.mean()
    assert strange.scores.max() < found.scores.min()


@pytest.mark.parametrize("kind", ["protonet", "maml"])
def test_an_answer_depends_on_no_other_example_and_no_other_adaptation(runs: Runs, kind: str) -> None:
    model = metamtl.load(runs.finished(kind), device="cpu")
    x, y = pictures(0, shots=2)
    z, _ = pictures(1, shots=2)
    predictor = model.adapt(x, y)
    together = predictor.predict(z).scores
    model.adapt(z, y)
    alone = [predictor.predict(one[None]).scores[0] for one in z]
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)
    if kind == "maml":
        beside = model.adapt(x, y, transductive=True).predict(z).scores
        assert not np.allclose(beside, together, rtol=1e-3)


def _left_out(model: Model, x: Any, y: Sequence[Any], held: NDArray[np.bool_], together: bool = False) -> Any:
    """What a model that has not seen the held-out examples says of them."""
    kept = [label for label, out in zip(y, held, strict=True) if not out]
    predictor = model.adapt(x[~held], kept, threshold="off", transductive=together)
    found = predictor.predict(x if together else x[held])
    chosen = np.flatnonzero(held) if together else np.arange(held.sum())
    return found.scores[chosen], [found.labels[place] for place in chosen]


@pytest.mark.parametrize(("kind", "together"), [("protonet", False), ("maml", False), ("maml", True)])
def test_the_threshold_is_calibrated_by_leaving_one_out(runs: Runs, kind: str, together: bool) -> None:
    model = metamtl.load(runs.finished(kind), device="cpu")
    x, y = pictures(0, shots=3)
    limit = model.adapt(x, y, transductive=together).threshold
    places = np.arange(len(x))
    found = [_left_out(model, x, y, places == place, together) for place in places]
    scores = np.array([score[0] for score, _ in found])
    assert limit.value == pytest.approx(np.quantile(scores, 0.05), rel=1e-4, abs=1e-5)
    assert limit.held_out == len(x)
    assert limit.accuracy == pytest.approx(np.mean([label[0] == own for (_, label), own in zip(found, y, strict=True)]))


def test_classes_with_one_example_are_not_held_out(runs: Runs) -> None:
    x, y = pictures(0, shots=3)
    kept = [0, 3, 4, 5, 6]  # one, three and one example
    limit = metamtl.load(runs.finished("protonet"), device="cpu").adapt(x[kept], [y[n] for n in kept]).threshold
    assert limit.held_out == 3
    assert limit.accuracy == 1.0


def test_with_one_example_a_class_whole_classes_are_left_out(runs: Runs) -> None:
    model = metamtl.load(runs.finished("protonet"), device="cpu")
    x, y = pictures(0, shots=1)
    limit = model.adapt(x, y).threshold
    scores = [_left_out(model, x, y, np.arange(3) == place)[0][0] for place in range(3)]
    assert limit.value == pytest.approx(np.median(scores), rel=1e-5)
    assert limit.accuracy is None
    assert "no class has a second example" in limit.how
    two = model.adapt(x[:2], y[:2])
    assert two.threshold.value == -np.inf
    assert "nothing to judge by" in two.threshold.how
    assert not two.predict(x).unknown.any()


def test_a_large_support_set_is_sampled(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metamtl.deploy.calibration.HELD_OUT", 4)
    x, y = pictures(0, shots=3)
    assert metamtl.load(runs.finished("maml"), device="cpu").adapt(x, y).threshold.held_out == 4


def test_a_threshold_can_be_given(runs: Runs) -> None:
    model = metamtl.load(runs.finished("protonet"), device="cpu")
    x, y = pictures(0, shots=2)
    scores = model.adapt(x, y, threshold="off").predict(x).scores
    middle = float(np.median(scores))
    np.testing.assert_array_equal(model.adapt(x, y, threshold=middle).predict(x).unknown, scores < middle)
    for wrong in ("high", np.nan, True):
        with pytest.raises(UsageError, match=r"auto, off or a number"):
            model.adapt(x, y, threshold=wrong)  # type: ignore[arg-type]


def test_labels_of_any_hashable_kind(runs: Runs) -> None:
    model = metamtl.load(runs.finished("protonet"), device="cpu")
    x, y = pictures(0, shots=2)
    kinds: list[Any] = [("a", 1), None, frozenset({2})]
    found = model.adapt(x, [kinds[int(name[-1])] for name in y]).predict(x)
    assert found.labels == [kinds[int(name[-1])] for name in y]
    numbers: list[Any] = [np.array([5, 5, 3, 3, 9, 9]), torch.tensor([5, 5, 3, 3, 9, 9])]
    for labels in numbers:
        assert model.adapt(x, labels).predict(x).labels == [5, 5, 3, 3, 9, 9]


@pytest.mark.parametrize(
    ("kind", "labels", "said"),
    [
        ("protonet", ["a"] * 6, "has one class"),
        ("maml", ["a", "b", "c", "d", "a", "b"], r"learnt a head for 3 ways, and the support has 4.*task\.ways=4"),
        ("protonet", ["a", "b"], "6 examples and 2 labels"),
        ("protonet", [["a"], ["b"]] * 3, "hashable"),
        ("sinusoid", ["a", "b", "c"] * 2, r"this run learnt regression: use regress"),
    ],
)
def test_labels_that_do_not_fit_are_refused(runs: Runs, kind: str, labels: list[Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        metamtl.load(runs.finished(kind), device="cpu").adapt(pictures(0, shots=2)[0], labels)


def test_regression_is_refused_where_classes_were_learnt(runs: Runs) -> None:
    with pytest.raises(UsageError, match="this run learnt classification: use adapt"):
        metamtl.load(runs.finished("protonet"), device="cpu").regress(np.zeros(3), np.zeros(3))
    with pytest.raises(UsageError, match="3 examples and 2 labels or values"):
        metamtl.load(runs.finished("sinusoid"), device="cpu").regress(np.zeros(3), np.zeros(2))


def test_neither_data_nor_random_numbers_are_touched(runs: Runs, tmp_path: Path) -> None:
    """A run that was tested says all that is needed; an older one has its data opened."""
    run = runs.copy(runs.finished("protonet"), tmp_path)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(runs.images), str(tmp_path / "gone")))
    torch.manual_seed(3)
    state = torch.get_rng_state()
    model = metamtl.load(run, device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    result = read_json(run / "result.json")
    recorded = result.pop("inputs")
    assert model.inputs == recorded
    write_json(run / "result.json", result)
    with pytest.raises(UsageError, match="does not exist"):
        metamtl.load(run)
    (run / "config.yaml").write_text(config)
    assert metamtl.load(run, device="cpu").inputs == recorded


def test_a_run_without_weights_and_what_is_no_run(runs: Runs, tmp_path: Path) -> None:
    run = runs.copy(runs.finished("protonet"), tmp_path)
    best = run / "checkpoints" / "best.pt"
    best.write_bytes(best.read_bytes()[:-100])
    with pytest.raises(MetamtlError, match="No sound checkpoint 'best'"):
        metamtl.load(run)
    for file in best.parent.glob("*best.pt"):
        file.unlink()
    with pytest.raises(MetamtlError, match=r"has no checkpoints/best\.pt.*metamtl resume"):
        metamtl.load(run)
    with pytest.raises(MetamtlError, match="is not a run folder"):
        metamtl.load(tmp_path)


def test_the_package_is_light_until_it_is_used() -> None:
    program = """
import sys, metamtl
light = "torch" not in sys.modules
try:
    metamtl.laod
except AttributeError as error:
    print(error)
print(light, {"load", "load_predictor"} <= set(dir(metamtl)), metamtl.load.__name__, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["module 'metamtl' has no attribute 'laod'", "True True load True"]
