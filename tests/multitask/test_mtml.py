"""Families that are learnt together: joint inner steps, exact gradients of every family's loss, and subsets of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from metamtl.algos.mtml import MTML
from metamtl.backbones.noise import DropBlock
from metamtl.config.compose import compose
from metamtl.data.task import Examples, TaskBatch, size
from metamtl.engine.plan import VECTORS, Plan, load
from metamtl.engine.world import World
from metamtl.errors import UsageError
from metamtl.families import Families, build_families
from metamtl.multitask.mixing import Mixing
from metamtl.opening import open_sources
from metamtl.trainer.streams import EpisodeStream, stream_of
from tests.algos.suite import Blobs, make
from tests.multitask.bowls import Bowls, weighting_of
from tests.multitask.composed import FEW
from tests.multitask.resumed import unbroken_and_resumed
from tests.multitask.test_families import gradients

WAVES = [
    "algo=mtml",
    "data=sinusoid",
    "backbone.hidden=[6]",
    "algo.inner_steps=2",
    "algo.inner_lr=0.02",
    "+families.low={data: sinusoid, set: {data: {amplitude: [0.1, 1.0]}}}",
    "+families.high={data: sinusoid, set: {data: {amplitude: [4.0, 5.0]}, trainer: {task: {shots: 7}}}}",
    "+families.lines={data: functions, set: {data: {kinds: [linear]}, task: {shots: 6}}}",
    "trainer.meta_batch=3",
    "trainer.precision=float64",
    "trainer.threads=1",
]


@cache
def composed(*overrides: str) -> dict[str, Any]:
    return compose([*WAVES, *overrides])


def families_of(*overrides: str) -> Families:
    config = composed(*overrides)
    return build_families(config, open_sources(config))


def only(families: Families, *names: str) -> Families:
    """Updates of these families alone."""
    families.mixing = Mixing(dict.fromkeys(names, 1.0), len(names), 0)
    return families


def learner_of(families: Families, name: str) -> MTML:
    learner = families.each[name].learner
    assert isinstance(learner, MTML)
    return learner


def episodes(families: Families, step: int = 0) -> dict[str, TaskBatch]:
    streams = stream_of(families, families.stages[0], World(0, 1)).streams  # type: ignore[attr-defined]
    found = {}
    for name, stream in streams.items():
        assert isinstance(stream, EpisodeStream)
        (found[name],) = stream.batches(step)
    return found


def joint_losses(families: Families, batches: Mapping[str, TaskBatch], task: int) -> dict[str, Tensor]:
    """Each family's query loss after joint inner steps, written out for one task of each."""
    parts = {name: (families.each[name].learner, batch.task(task)) for name, batch in batches.items()}
    every: dict[int, Tensor] = {id(w): w for learner, _ in parts.values() for w in learner.network.parameters()}
    holders = Counter(id(w) for learner, _ in parts.values() for w in learner.network.parameters())

    def loss(name: str, examples: Examples) -> Tensor:
        learner = parts[name][0]
        weights = {own: every[ids[name][own]] for own in ids[name]}
        return learner.family.loss(learner.network.query(examples.x, weights), examples)

    ids = {name: {own: id(w) for own, w in one.network.named_parameters()} for name, (one, _) in parts.items()}
    for _ in range(2):
        total = torch.stack([loss(name, one.support) for name, (_, one) in parts.items()]).sum()
        slopes = torch.autograd.grad(total, list(every.values()), create_graph=True)
        every = {key: w - 0.02 / holders[key] * g for (key, w), g in zip(every.items(), slopes, strict=True)}
    return {name: loss(name, one.query) for name, (_, one) in parts.items()}


# ---- joint steps ----


def test_an_update_is_the_gradient_of_the_mean_query_loss_after_joint_steps() -> None:
    """Heads included, which the other families' losses depend on through the inner steps."""
    families = families_of()
    batches = episodes(families)
    each, figures = gradients(only(families, *families.each))
    update = families.combined(each, figures, 0)
    tasks = [joint_losses(families, batches, task) for task in range(3)]
    for name in families.each:
        assert figures[f"{name}/loss"] == pytest.approx(sum(losses[name].item() for losses in tasks) / 3, rel=1e-12)
    total = sum(loss for losses in tasks for loss in losses.values()) / 9
    assert isinstance(total, Tensor)
    named = dict(families.module.named_parameters())
    assert update.keys() == named.keys()
    wanted = torch.autograd.grad(total, list(named.values()))
    for name, g in zip(named, wanted, strict=True):
        torch.testing.assert_close(update[name], g, rtol=1e-9, atol=1e-14)
    assert each["low.together.high.network.head.weight"].abs().max() > 0


@pytest.mark.parametrize("memory", ["full", "flat"])
def test_joint_steps_run_alike_alone_vectorised_and_on_threads(memory: Any) -> None:
    families = families_of()
    wanted: dict[str, Tensor] = {}
    for how, workers in (("loop", 1), ("vmap", 1), ("vmap", 2)):
        for parts in families.each.values():
            parts.engine.plan = Plan(how, 16, workers, memory)  # type: ignore[arg-type]
        found, _ = gradients(only(families, "low", "lines"))
        wanted = wanted or found
        for name, g in wanted.items():
            torch.testing.assert_close(found[name], g, rtol=1e-9, atol=1e-14)


def test_examples_beside_a_task_count_in_the_size_of_a_chunk() -> None:
    batches = episodes(families_of())
    own, beside = batches["low"], {name: batches[name].support for name in ("high", "lines")}
    alone, together = own, replace(own, beside=beside)
    examples = [sum(size(one.x, 1) for one in sets) for sets in ((own.support, own.query), beside.values())]
    assert [load(alone), load(together)] == [examples[0] // VECTORS, sum(examples) // VECTORS]
    assert load(together) > load(alone)


def test_a_family_alone_is_adapted_to_as_by_maml() -> None:
    families = families_of()
    for learner in (learner_of(families, name) for name in families.each):
        task = episodes(families)["high"].task(0)
        fast = {name: weight.detach() for name, weight in learner.network.named_parameters()}
        for _ in range(2):
            points = {name: weight.clone().requires_grad_() for name, weight in fast.items()}
            loss = learner.family.loss(learner.network.support(task.support.x, points), task.support)
            slopes = torch.autograd.grad(loss, list(points.values()))
            fast = {name: weight - 0.02 * g for (name, weight), g in zip(fast.items(), slopes, strict=True)}
        found = learner.eval().adapt(task.support).weights
        assert found.keys() == fast.keys()
        for name, weight in fast.items():
            torch.testing.assert_close(found[name].detach(), weight)


def test_two_processes_add_up_to_one() -> None:
    families = only(families_of(), "low", "high")
    families.module.train()
    alone, first, second = (
        stream_of(families, families.stages[0], World(rank, size)).update(4) for rank, size in ((0, 1), (0, 2), (1, 2))
    )
    assert first.tasks + second.tasks == alone.tasks == 6
    for name, g in alone.gradient.items():
        torch.testing.assert_close(first.gradient[name] + second.gradient[name], g, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("head_init", ["learned", "prototype"])
def test_families_that_share_nothing_do_not_move_one_another(head_init: str) -> None:
    learner, other = (make("mtml", seed=seed, head_init=head_init) for seed in (0, 1))
    assert isinstance(learner, MTML)
    task, beside = (Blobs((12,), seed).tasks(1).single() for seed in (0, 1))
    alone = learner.adapt(task.support).weights
    learner.join({"other": other})
    for name, weight in learner.adapt_beside(task.support, {"other": beside.support}).weights.items():
        torch.testing.assert_close(weight, alone[name], rtol=1e-12, atol=1e-15)


# ---- subsets ----


def test_subsets_of_two_and_more_are_drawn_alike() -> None:
    mixing = Mixing(dict.fromkeys("abc", 1.0), 2, seed=0, upwards=True)
    drawn = ["".join(mixing.drawn(step)) for step in range(4000)]
    for subset in ("ab", "ac", "bc", "abc"):
        assert drawn.count(subset) / 4000 == pytest.approx(1 / 4, abs=0.03)
    assert families_of().mixing.least == 2 and families_of().mixing.most == 3  # type: ignore[union-attr]


def test_a_family_that_is_not_in_a_subset_is_not_moved() -> None:
    families = only(families_of(), "low", "lines")
    each, figures = gradients(families)
    assert not any("high" in name for name in each)
    update = families.combined(each, figures, 0)
    heads = {id(weight) for weight in families.each["high"].learner.network.head.parameters()}  # type: ignore[union-attr]
    named = dict(families.module.named_parameters())
    assert {id(named[name]) for name in named.keys() - update.keys()} == heads


def test_uncertainty_weighs_the_families_of_a_subset_by_their_own_numbers() -> None:
    weighting = weighting_of("uncertainty", ["classification"] * 3)
    weighting.load_state_dict({"log_variances": torch.tensor([0.3, -0.7, 2.0], dtype=torch.float64)})
    rows, losses = Bowls([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).at(torch.zeros(2, dtype=torch.float64), 0)
    pair = weighting_of("uncertainty", ["classification"] * 2)
    pair.load_state_dict({"log_variances": torch.tensor([0.3, 2.0], dtype=torch.float64)})
    weighting.present = [0, 2]
    found, wanted = weighting.combine(rows[[0, 2]], losses[[0, 2]], 0), pair.combine(rows[[0, 2]], losses[[0, 2]], 0)
    torch.testing.assert_close(found.shared, wanted.shared)
    slopes = found.own["log_variances"]
    torch.testing.assert_close(slopes[[0, 2]], wanted.own["log_variances"])
    assert slopes[1] == 0


def test_a_stopped_run_over_subsets_goes_on_as_an_unbroken_one(tmp_path: Path) -> None:
    config = {**composed(), "eval": {**composed()["eval"], **FEW}, "weighting": {"name": "uncertainty"}}
    trainer = config["trainer"]
    config["trainer"] = {**trainer, "validate_every": 2, "schedule": {**trainer["schedule"], "name": "constant"}}
    first, second = unbroken_and_resumed(config, tmp_path)
    assert first["families"] == second["families"]
    assert first["families"].keys() == {"low", "high", "lines"} and first["best"] == second["best"]


# ---- refusals ----


@pytest.mark.parametrize(
    "overrides, said",
    [
        (["+families.low.algo=maml", "+families.high.algo=maml"], "adapts to several families at once"),
        (["mixing.take=1", "mixing.rule=equal"], "adapts to several families at once"),
        (["+families.low.set.trainer={meta_batch: 5}"], "an update has 5 of low, 3 of high"),
        (["families.high.set.trainer.task.shots=[1,5]"], "families.high: algo=mtml .* fixed ways and shots"),
        (["+families.low.set.algo={inner_lr: 0.5}"], r"algo.inner_lr=0\.\d+, and another family has"),
        (["weighting=famo"], "weighting=famo compares all families"),
    ],
)
def test_what_cannot_be_learnt_together_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        families_of(*overrides)


def test_labelled_examples_are_refused() -> None:
    labelled = compose(["algo=mtml", "data=digits", "+families.a={data: digits}", "+families.b={data: digits}"])
    with pytest.raises(UsageError, match="algo=mtml learns from few-shot tasks"):
        build_families(labelled, open_sources(labelled))


def test_dropped_activations_are_refused() -> None:
    learner, other = (make("mtml") for _ in range(2))
    other.network.backbone.get_submodule("layers.0").append(DropBlock(0.1, 1))  # type: ignore[operator]
    with pytest.raises(UsageError, match="drop_rate=0"):
        learner.join({"other": other})
