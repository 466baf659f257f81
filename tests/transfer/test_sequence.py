"""Learning in sequence: the matrix of accuracies and its figures, and runs that go on from where they were."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metamtl.build import build_parts
from metamtl.config.compose import compose
from metamtl.data.examples import ExampleSource
from metamtl.data.labelled import LabelledClasses
from metamtl.data.task import Examples, Minibatch
from metamtl.engine.network import Network
from metamtl.errors import MetamtlError, UsageError
from metamtl.evaluation.continual import acc_interval, mean_interval, sequence_figures
from metamtl.opening import open_sources
from metamtl.runs.folder import RunFolder
from metamtl.runs.result import read_episodes, read_result, summary
from metamtl.trainer import sequence
from metamtl.trainer.run import resume_run, train_run
from metamtl.transfer.base import Origin
from metamtl.transfer.si import SI, along_path
from metamtl.transfer.si import Path as Walk
from tests.transfer.made import DIGITS, moved, trained

STAGES = "sequence=[{data: {digits: [0, 1]}}, {data: {digits: [2, 3]}}]"
SMALL = [*DIGITS, "backbone.hidden=[16]", STAGES, "trainer.optimizer.lr=0.02"]
TOLD = "told=[[0, 1], [2, 3]]"
STRATEGIES = ("none", "ewc", "si", "lwf", "replay", "agem")


@pytest.fixture(autouse=True)
def _no_sequence_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence, "plot_sequence", lambda run, matrix, names, metric: None)


def record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "result.json").read_text())["sequence"]
    return found


@pytest.mark.parametrize("experiment", ["split_digits", "permuted_digits"])
def test_an_experiment_leaves_the_batch_to_the_method(experiment: str) -> None:
    sizes = {
        algo: compose([f"experiment=continual/{experiment}", f"algo={algo}"])["trainer"]["batch_size"]
        for algo in ("joint", "lamaml")
    }
    assert sizes == {"joint": 64, "lamaml": 10}


def test_the_figures_of_a_matrix_are_their_formulae() -> None:
    matrix = np.array([[0.1, 0.2, 0.3], [0.9, 0.3, 0.1], [0.7, 0.8, 0.5], [0.6, 0.9, 0.7]])
    found = sequence_figures(matrix, 0.05)
    assert found["acc"] == {"mean": pytest.approx((0.6 + 0.9 + 0.7) / 3), "ci95": 0.05}
    assert found["bwt"] == pytest.approx(((0.6 - 0.9) + (0.9 - 0.8)) / 2)
    assert found["fwt"] == pytest.approx(((0.3 - 0.2) + (0.5 - 0.3)) / 2)
    assert found["forgetting_by_task"] == pytest.approx([0.9 - 0.6, 0.8 - 0.9])
    one = sequence_figures(matrix[:2, :1], 0.1)
    assert one["bwt"] is None and one["fwt"] is None and one["forgetting"] is None


def test_the_interval_of_acc_knows_pictures_that_tasks_share() -> None:
    generator = np.random.default_rng(0)
    hits = [(generator.random(count) < 0.7).astype(np.float64) for count in (50, 80)]
    apart = [np.arange(50), np.arange(50, 130)]
    halves = [summary(one)["ci95"] for one in hits]
    assert acc_interval(hits, apart) == pytest.approx(math.hypot(*halves) / 2)
    same = [hits[0], hits[0]]  # what one task says of a picture the other says again: nothing is learnt from it
    assert acc_interval(same, [apart[0], apart[0]]) == pytest.approx(halves[0])
    assert mean_interval(np.concatenate(same), np.concatenate([apart[0]] * 2)) == pytest.approx(halves[0], rel=0.02)
    opposed = [hits[0], 1 - hits[0]]
    assert acc_interval(opposed, [apart[0], apart[0]]) == pytest.approx(0, abs=1e-12)
    unknown = [np.append(hits[0], np.nan), hits[1]]
    assert acc_interval(unknown, [np.arange(51), apart[1] + 1]) == pytest.approx(math.hypot(*halves) / 2)


def test_permuted_pictures_are_one_picture_and_pairs_of_digits_are_not(tmp_path: Path) -> None:
    """Two stages that are the same task: their errors are the same, and two tests tell no more than one."""
    twice = [*DIGITS, "sequence=[{data: {digits: null}}, {trainer: {steps: 1}}]", "trainer.steps=2"]
    run = trained(tmp_path / "twice", *twice)
    found, one = record(run), read_result(RunFolder.open(run / "stages" / "2"))["test"]["accuracy"]
    assert found["acc"]["mean"] == pytest.approx(one["mean"])
    assert found["acc"]["ci95"] == pytest.approx(one["ci95"])
    assert read_result(RunFolder.open(run))["test"]["accuracy"]["ci95"] == pytest.approx(one["ci95"], rel=0.01)
    pairs = trained(tmp_path / "pairs", *SMALL, "trainer.steps=2")
    figures = read_episodes(RunFolder.open(pairs))["accuracy"]
    (stored,) = open_sources(compose([*DIGITS, "data.digits=[0,1]"])).values()
    assert isinstance(stored, ExampleSource)
    first = len(stored.items("test"))
    halves = [summary(part)["ci95"] for part in (figures[:first], figures[first:])]
    assert record(pairs)["acc"]["ci95"] == pytest.approx(math.hypot(*halves) / 2)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_goes_from_stage_to_stage(strategy: str, tmp_path: Path) -> None:
    run = trained(tmp_path, *SMALL, f"transfer={strategy}", "trainer.steps=4")
    found = record(run)
    assert np.shape(found["matrix"]) == (3, 2) and found["stages"] == ["digits=[0, 1]", "digits=[2, 3]"]
    result = read_result(RunFolder.open(run))
    assert result["test"]["accuracy"]["episodes"] == 162 and result["train"]["steps"] == 8
    first = torch.load(run / "stages" / "1" / "checkpoints" / "best.pt", weights_only=True)["learner"]
    used = (run / "stages" / "2" / "knowledge.pt").read_bytes()
    assert used and any(name.startswith("terms.si.") for name in first) == (strategy == "si")
    assert (run / "checkpoints" / "best.pt").exists()


def test_old_pairs_are_lost_without_replay_and_kept_with_it_or_with_the_pair_known(tmp_path: Path) -> None:
    """What the literature finds (van de Ven & Tolias 2019): class-incremental, and task-incremental."""
    steps = ["trainer.steps=60"]
    last = {
        name: np.array(record(trained(tmp_path / name, *SMALL, *steps, *more))["matrix"])[-1]
        for name, more in {
            "none": [],
            "replay": ["transfer=replay", "transfer.replay.examples=100"],
            "told": [TOLD],
        }.items()
    }
    assert all(last[name][1] > 0.8 for name in last)
    assert last["none"][0] < 0.1
    assert last["replay"][0] > 0.8 and last["told"][0] > 0.7


def test_a_stopped_sequence_goes_on_as_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [*SMALL, "transfer=si", "trainer.steps=6", "trainer.checkpoint_every=2"]
    whole = trained(tmp_path / "whole", *options)
    config = compose([*options, f"paths.outputs={tmp_path / 'broken'}"])
    with monkeypatch.context() as patch:
        patch.setattr(sequence, "_put", _torn)
        with pytest.raises(MetamtlError, match="torn"):
            train_run(config, ["metamtl", "train"])
    (broken,) = (tmp_path / "broken").glob("*")
    assert json.loads((broken / "meta.json").read_text())["status"] == "failed"
    resume_run(broken)
    assert record(whole)["matrix"] == record(broken)["matrix"]
    there, here = (torch.load(run / "checkpoints" / "best.pt", weights_only=True)["learner"] for run in (whole, broken))
    assert all(torch.equal(tensor, here[name]) for name, tensor in there.items())


def _torn(run: RunFolder, judges: object) -> None:
    raise MetamtlError("torn")


def test_the_best_weights_of_a_sequence_are_tested_again_as_any_run(tmp_path: Path) -> None:
    from metamtl.evaluation.run import evaluate_run

    run = trained(tmp_path, *SMALL, "transfer=ewc", "trainer.steps=3")
    evaluate_run(run)
    (again,) = (run / "eval").glob("*/result.json")
    assert json.loads(again.read_text())["test"]["accuracy"]["episodes"] == 360  # all ten digits


def test_a_group_that_is_known_leaves_no_other_class() -> None:
    family = LabelledClasses("made", 4, [[0, 1], [2, 3]])
    outputs = torch.tensor([[0.0, 1.0, 9.0, 9.0], [9.0, 9.0, 1.0, 0.0]], requires_grad=True)
    examples = Examples(outputs, torch.tensor([1, 2]))
    assert float(family.metrics(outputs, examples)["accuracy"]) == 1.0
    wanted = -torch.log_softmax(torch.tensor([1.0, 0.0]), 0)[0]
    loss = family.loss(outputs, examples)
    torch.testing.assert_close(loss.detach(), wanted)
    (slope,) = torch.autograd.grad(loss, outputs)
    assert slope[0, 2:].tolist() == [0.0, 0.0] and slope.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["sequence=[{data: {digitz: [1]}}]"], "sequence, stage 1: data.digitz: no such key"),
        (["sequence=[{algo: {name: maml}}]"], "sequence, stage 1: algo.name is settled when a run starts"),
        ([STAGES, "transfer=soup"], "transfer=soup takes several sources"),
        ([STAGES, "transfer=lora"], "transfer=lora changes layers"),
        ([STAGES, "transfer=ewc", "transfer.source=x"], "a stage of a sequence has the one before as its source"),
        (["told=[[0, 1], [1]]"], "name each of the classes 0 to 9 at most once"),
    ],
)
def test_sequences_that_cannot_be_learnt(changes: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as found:
        trained(tmp_path, *DIGITS, *changes, "trainer.steps=1")
    assert said in str(found.value) and not list(tmp_path.glob("*/result.json"))


def test_the_path_integral_is_what_the_loss_fell(tmp_path: Path) -> None:
    """Along small steps of gradient descent, the sum of omega is the fall of the loss (Zenke et al. 2017, eq. 3)."""
    head = torch.nn.Linear(3, 2).double()
    backbone = torch.nn.Identity()
    backbone.features = 3  # type: ignore[assignment]
    network = Network(backbone, head, "none")
    walk, strategy = Walk(network, 1.0), SI(weight=1.0, damping=0.5)
    strategy.term = walk
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(20, 3, generator=generator, dtype=torch.float64), torch.arange(20) % 2
    walk.double()
    losses = []
    first = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    for _ in range(50):
        loss = torch.nn.functional.cross_entropy(network.support(x), y)
        losses.append(float(loss))
        gradient = dict(zip(first, torch.autograd.grad(loss, list(network.parameters())), strict=True))
        assert strategy.changed(gradient, network, LabelledClasses("made", 2)) is gradient
        with torch.no_grad():
            for name, weight in network.named_parameters():
                weight.sub_(1e-3 * gradient[name])
    parameters = {name: weight.detach() for name, weight in network.named_parameters()}
    saved = {f"si.{name}": tensor for name, tensor in walk.state_dict().items()}
    origin = Origin(parameters, {}, {"run": "made"}, lambda: None, None, saved)  # type: ignore[arg-type,return-value]
    found = along_path(origin, 0.5)
    fell = losses[0] - float(torch.nn.functional.cross_entropy(network.support(x), y))
    moved_by = {name: (parameters[name] - first[name]).square() + 0.5 for name in first}
    total = sum(float((values * moved_by[name]).sum()) for name, values in found.items())
    assert total == pytest.approx(fell, rel=1e-2)


def lamaml(*overrides: str):  # type: ignore[no-untyped-def]
    config = compose(["algo=lamaml", "data=digits", *[text for text in DIGITS if "=" in text][2:], *overrides])
    (source,) = open_sources(config).values()
    return build_parts(config, source)


def minibatch(parts) -> Examples:  # type: ignore[no-untyped-def]
    items, labels = parts.source.minibatch("train", 10, 0, 1)
    return Examples(parts.preparation.every_input(parts.source.gather(items)), parts.preparation.targets(labels))


def test_lamaml_moves_weights_at_their_rates_and_rates_by_their_look_ahead() -> None:
    """Against algorithm 1 written out: one inner step of the whole minibatch."""
    parts = lamaml("algo.inner_steps=1", "algo.inner_lr=0.25", "algo.rate_lr=0.5")
    learner, examples = parts.learner, minibatch(parts)
    network = learner.network
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in network.named_parameters()}
    loss = parts.family.loss(network.support(examples.x, weights), examples)
    slopes = torch.autograd.grad(loss, list(weights.values()))
    fast = {
        name: (w - 0.25 * g).detach().requires_grad_() for (name, w), g in zip(weights.items(), slopes, strict=True)
    }
    after = parts.family.loss(network.support(examples.x, fast), examples)
    ahead = torch.autograd.grad(after, list(fast.values()))
    learner.train()
    gradient = parts.engine.minibatch_gradient(Minibatch(examples), 0).gradient
    for number, (name, g) in enumerate(zip(weights, ahead, strict=True)):
        torch.testing.assert_close(gradient[f"network.{name}"] / 10, 0.25 * g, rtol=1e-9, atol=1e-12)
        wanted = -0.5 * g * slopes[number]
        torch.testing.assert_close(gradient[f"rates.{number}"] / 10, wanted, rtol=1e-9, atol=1e-12)


def test_lamaml_second_order_agrees_with_finite_differences() -> None:
    parts = lamaml("algo.order=second", "algo.inner_steps=2", "algo.inner_lr=1.0")
    learner, examples = parts.learner, minibatch(parts)
    learner.train()
    gradient = parts.engine.minibatch_gradient(Minibatch(examples), 0).gradient
    direction = moved(learner.network, seed=4)
    found = sum(float((gradient[f"network.{name}"] / 10 * d.detach()).sum()) for name, d in direction.items())

    def at(shift: float) -> float:
        with torch.no_grad():
            for name, weight in learner.network.named_parameters():
                weight += shift * direction[name]
        value = float(learner.minibatch_loss(examples)[0].detach())
        with torch.no_grad():
            for name, weight in learner.network.named_parameters():
                weight -= shift * direction[name]
        return value

    assert found == pytest.approx((at(1e-6) - at(-1e-6)) / 2e-6, rel=1e-4)


def test_figures_that_are_no_shares_are_not_said_in_percent() -> None:
    figures = sequence_figures(np.array([[3.0, 3.0], [1.0, 2.5], [1.5, 0.5]]), 0.025)
    in_shares = sequence._said({"stages": ["a", "b"], **figures}, "accuracy")
    assert in_shares.startswith("after 2 stages: ACC 100.00% ± 2.50, BWT +50.00%")
    in_errors = sequence._said({"stages": ["a", "b"], **figures}, "mse")
    assert in_errors.startswith("after 2 stages: mean mse 1.0000 ± 0.0250, BWT +0.5000")
