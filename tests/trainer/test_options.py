from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metamtl.build import Parts, build_parts, choose_device
from metamtl.data.opening import open_source
from metamtl.engine.world import World
from metamtl.errors import UsageError
from metamtl.evaluation.protocol import evaluate_episodes
from metamtl.runs import metrics
from metamtl.trainer.optim import clip, make_optimizer, rate_factor
from metamtl.trainer.run import resume_run, train_run
from metamtl.trainer.streams import stream_of
from tests.trainer.processes import command, ended
from tests.trainer.runs import Runs, alone, only_run, outcome, weights

OPTIMIZER = {"name": "adam", "lr": 0.1, "weight_decay": 0.0, "momentum": 0.0, "nesterov": False}
SCHEDULE = {"name": "constant", "warmup": 0, "every": 10, "at": [], "factor": 0.5, "final": 0.0}


def _trained(runs: Runs, folder: Path, *changes: str, kind: str = "sinusoid", **sections: Any) -> Path:
    """A run in this process, of six steps unless `changes` say otherwise."""
    few = ("trainer.steps=6", "trainer.meta_batch=2", "trainer.log_every=1", f"paths.outputs={folder / 'outputs'}")
    train_run({**runs.config(kind, *few, *changes), **sections}, ["metamtl", "train"])
    return only_run(folder)


def _learner(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = weights(run, name)["learner"]
    return found


def _parts(runs: Runs, kind: str, *changes: str) -> Parts:
    config = runs.config(kind, *changes)
    return build_parts(config, open_source(config))


# ---- optimisers and schedules ----


@pytest.mark.parametrize(
    "options",
    [
        {"name": "adam", "weight_decay": 0.1},
        {"name": "adamw", "weight_decay": 0.1},
        {"name": "sgd", "momentum": 0.9, "nesterov": True},
        {"name": "rmsprop", "momentum": 0.5},
    ],
    ids=lambda options: str(options["name"]),
)
def test_an_optimiser_has_its_options_and_its_state_survives(
    runs: Runs, tmp_path: Path, options: dict[str, Any]
) -> None:
    made = make_optimizer({**OPTIMIZER, **options}, [torch.nn.Parameter(torch.ones(1))])
    assert type(made).__name__.lower() == options["name"]
    group = made.param_groups[0]
    assert {key: group[key] for key in options if key != "name"} == {k: v for k, v in options.items() if k != "name"}
    changes = [f"trainer.optimizer.{key}={json.dumps(value)}" for key, value in options.items()]
    whole = _trained(runs, tmp_path / "whole", *changes)
    half = _trained(runs, tmp_path / "half", *changes, "trainer.steps=3")
    resume_run(half, ["trainer.steps=6"])
    assert all(torch.equal(value, _learner(half)[name]) for name, value in _learner(whole).items())


def test_sgd_takes_the_step_that_its_formula_says() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = make_optimizer({**OPTIMIZER, "name": "sgd", "momentum": 0.5, "weight_decay": 0.1}, [weight])
    expected, velocity = 1.0, 0.0
    for _ in range(3):
        weight.grad = torch.tensor([2.0])
        optimizer.step()
        velocity = 0.5 * velocity + 2.0 + 0.1 * expected
        expected -= 0.1 * velocity
    assert weight.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 1, 1, 1]),
        ({"name": "cosine"}, [1, 0.5, (1 + math.cos(math.pi * 39 / 40)) / 2, 0]),
        ({"name": "cosine", "final": 0.1}, [1, 0.55, 0.1 + 0.9 * (1 + math.cos(math.pi * 39 / 40)) / 2, 0.1]),
        ({"name": "linear"}, [1, 0.5, 1 / 40, 0]),
        ({"name": "step", "every": 20}, [1, 0.5, 0.5, 0.25]),
        ({"name": "milestones", "at": [10, 39], "factor": 0.1}, [1, 0.1, 0.01, 0.01]),
        ({"warmup": 40}, [1 / 40, 21 / 40, 1, 1]),
    ],
)
def test_a_schedule_is_a_function_of_the_step(options: dict[str, Any], expected: list[float]) -> None:
    schedule = {**SCHEDULE, **options}
    assert [rate_factor(schedule, step, 40) for step in (0, 20, 39, 40)] == pytest.approx(expected, abs=1e-12)


def test_the_schedule_reaches_the_optimiser(runs: Runs, tmp_path: Path) -> None:
    """A rate of zero from step 4 on leaves the weights where step 4 left them."""
    stop = ("trainer.schedule.name=milestones", "trainer.schedule.at=[4]", "trainer.schedule.factor=1e-30")
    run, short = _trained(runs, tmp_path / "a", *stop), _trained(runs, tmp_path / "b", *stop, "trainer.steps=4")
    assert all(torch.allclose(value, _learner(short)[name], rtol=1e-6) for name, value in _learner(run).items())
    rates = [line["train/lr"] for line in metrics.read(run / "metrics.jsonl") if line["split"] == "train"]
    assert rates == pytest.approx([1e-3] * 4 + [1e-33] * 2)


def test_clipping() -> None:
    gradients = [torch.tensor([3.0, -0.5]), torch.tensor([4.0])]
    assert clip(gradients, None, None).item() == pytest.approx(math.sqrt(25.25))
    clip(gradients, None, 1.0)
    assert [g.tolist() for g in gradients] == [[1.0, -0.5], [1.0]]
    clip(gradients, 0.75, None)
    assert torch.cat(gradients).norm().item() == pytest.approx(0.75, rel=1e-5)
    assert gradients[0].tolist() == pytest.approx([0.5, -0.25], rel=1e-5)


def test_clipping_bounds_an_update_and_the_log_has_the_norm_before(runs: Runs, tmp_path: Path) -> None:
    sgd = ("trainer.optimizer.name=sgd", "trainer.optimizer.lr=1", "trainer.optimizer.momentum=0")
    run = _trained(runs, tmp_path, *sgd, "trainer.clip_norm=0.001", "trainer.steps=1")
    before = _parts(runs, "sinusoid").learner.state_dict()
    moved = torch.cat([(value - before[name]).flatten() for name, value in _learner(run).items()])
    assert moved.norm().item() == pytest.approx(0.001, rel=1e-3)
    (line,) = [line for line in metrics.read(run / "metrics.jsonl") if line["split"] == "train"]
    assert line["train/gradient_norm"] > 0.01


# ---- averages, precision, threads, label ----


def test_the_average_of_the_weights_is_what_is_tested(runs: Runs, tmp_path: Path) -> None:
    changes = ("trainer.ema=0.75", "trainer.optimizer.lr=0.01")
    after = [_trained(runs, tmp_path / str(n), *changes, f"trainer.steps={n}") for n in (1, 2, 3)]
    first, second, third = (_learner(run) for run in after)
    average = {name: 0.75 * (0.75 * first[name] + 0.25 * second[name]) + 0.25 * third[name] for name in first}
    best = _learner(after[-1], "best")
    for name, value in average.items():
        torch.testing.assert_close(weights(after[-1])["ema"][name], value)
        torch.testing.assert_close(best[name], value)
    assert any(not torch.equal(third[name], average[name]) for name in average)


def test_float64_is_float64_throughout(runs: Runs, tmp_path: Path) -> None:
    run = _trained(runs, tmp_path, "trainer.precision=float64", "trainer.ema=0.9")
    last = weights(run)
    tensors = [*last["learner"].values(), *last["ema"].values(), last["optimizer"]["state"][0]["exp_avg"]]
    assert {tensor.dtype for tensor in tensors} == {torch.float64}
    losses = np.load(run / "episodes.npy")
    assert not np.array_equal(losses, losses.astype(np.float32))


@pytest.mark.parametrize("engine", ["vmap", "loop"])
@pytest.mark.parametrize("kind", ["maml", "protonet"])
def test_bfloat16_is_near_float32_and_counts_exactly(runs: Runs, kind: str, engine: str) -> None:
    """Autocast under vmap, and for maml through its second derivatives."""
    gradients, figures = [], []
    for precision in ("float32", "bfloat16"):
        parts = _parts(runs, kind, f"trainer.precision={precision}", f"engine={engine}")
        parts.learner.train()
        with parts.autocast():
            update = stream_of(alone(parts), parts.learner.stages[0], World(0, 1)).update(0)
        assert all(g.dtype is torch.float32 for g in update.gradient.values())
        gradients.append(torch.cat([g.flatten() for g in update.gradient.values()]))
        figures.append(evaluate_episodes(parts, World(0, 1), "test", 20))
    wide, narrow = gradients
    assert not torch.equal(wide, narrow)
    assert torch.cosine_similarity(wide, narrow, dim=0) > 0.9
    assert abs(figures[0]["loss"].mean() - figures[1]["loss"].mean()) < 0.05 * figures[0]["loss"].mean()
    ninths = figures[1]["accuracy"] * 9  # nine queries: bfloat16 would round 7/9 to 0.777344
    np.testing.assert_allclose(ninths, ninths.round(), atol=1e-5)


def test_a_bfloat16_run_resumes_exactly(runs: Runs, tmp_path: Path) -> None:
    changes = ("trainer.precision=bfloat16", "trainer.meta_batch=2")
    whole = _trained(runs, tmp_path / "whole", *changes, kind="maml")
    half = _trained(runs, tmp_path / "half", *changes, "trainer.steps=3", kind="maml")
    resume_run(half, ["trainer.steps=6"])
    assert all(torch.equal(value, _learner(half)[name]) for name, value in _learner(whole).items())
    assert next(iter(_learner(whole).values())).dtype is torch.float32


def test_threads_and_label(runs: Runs, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        run = _trained(runs, tmp_path, "trainer.threads=2", "label=a trial", "trainer.steps=1")
    finally:
        torch.set_num_threads(before)
    assert run.name.endswith("-a-trial")
    assert json.loads((run / "meta.json").read_text())["threads"] == weights(run)["threads"] == 2


def test_no_steps_at_all_test_the_first_weights(runs: Runs, tmp_path: Path) -> None:
    run = _trained(runs, tmp_path, "trainer.steps=0")
    first = _parts(runs, "sinusoid").learner.state_dict()
    assert all(torch.equal(value, first[name]) for name, value in _learner(run, "best").items())
    assert outcome(run)["result"]["best"]["step"] == 0


# ---- trackers and multirun ----


def test_a_tracker_has_the_figures_of_a_real_run(runs: Runs, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = _trained(runs, tmp_path, logger={"tensorboard": {"name": "tensorboard"}})
    (events,) = run.rglob("events.out.tfevents.*")
    found = accumulator.EventAccumulator(str(events.parent)).Reload()
    losses = {event.step: event.value for event in found.Scalars("train/loss")}
    lines = metrics.read(run / "metrics.jsonl")
    assert losses == pytest.approx({line["step"]: line["train/loss"] for line in lines if line["split"] == "train"})
    plain = _trained(runs, tmp_path / "plain")
    assert all(torch.equal(value, _learner(plain)[name]) for name, value in _learner(run).items())


def test_a_failing_job_does_not_stop_the_others(tmp_path: Path) -> None:
    quick = ["data=sinusoid", "trainer.steps=2", "eval.episodes=4", "eval.val_episodes=4", "trainer.pictures=0"]
    quick += ["eval.gap_episodes=0", "trainer.meta_batch=1"]
    words = ("train", "-m", "algo=maml", *quick, "algo.inner_lr=0.01,1e30,0.02")
    running = ended(command(*words, "trainer.device=cpu", f"paths.outputs={tmp_path / 'outputs'}"), tmp_path, code=1)
    assert "2 completed, 1 failed" in running.out
    (folder,) = (tmp_path / "outputs").iterdir()
    states = [json.loads((folder / str(n) / "meta.json").read_text())["status"] for n in range(3)]
    assert states == ["completed", "failed", "completed"]
    assert "Traceback" in (folder / "1" / "log.txt").read_text()
    assert "is not finite" in running.err and "Traceback" not in running.err
    assert (folder / "2" / "result.json").exists()


# ---- devices ----


def test_a_device_that_is_not_there_is_refused() -> None:
    absent = [name for name in ("cuda", "mps") if not getattr(torch, name).is_available()]
    assert absent, "a machine with both"
    for name in absent:
        with pytest.raises(UsageError, match=f"trainer.device={name} is not available.*trainer.device=auto"):
            choose_device(name)
    assert choose_device("auto").type in {"cpu", "cuda", "mps"} - set(absent)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("kind", ["maml", "protonet", "baseline"])
def test_a_gpu_trains_as_the_cpu_does(runs: Runs, tmp_path: Path, kind: str) -> None:
    exact = ("trainer.precision=float64", "trainer.optimizer.name=sgd")
    gpu = _trained(runs, tmp_path / "gpu", *exact, "trainer.device=cuda", kind=kind)
    cpu = _trained(runs, tmp_path / "cpu", *exact, kind=kind)
    for name, value in _learner(cpu).items():
        torch.testing.assert_close(_learner(gpu)[name].cpu(), value, rtol=1e-6, atol=1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_run_on_a_gpu_resumes(runs: Runs, tmp_path: Path) -> None:
    run = _trained(runs, tmp_path, "trainer.device=cuda", "trainer.precision=bfloat16", kind="maml")
    resume_run(run, ["trainer.steps=8"])
    assert weights(run)["progress"]["total"] == 8
