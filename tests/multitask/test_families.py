"""Several families in one run: what is shared, the one update of their gradients, runs that stop and go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from metamtl.config.compose import compose
from metamtl.engine.world import World
from metamtl.errors import UsageError
from metamtl.families import Families, build_families
from metamtl.opening import open_sources
from metamtl.trainer.streams import stream_of
from tests.multitask.resumed import unbroken_and_resumed

DIGITS = ["experiment=multitask/digits4", "backbone.hidden=[16]", "trainer.precision=float64", "trainer.batch_size=8"]
DIGITS += ["trainer.pictures=0"]
WAVES = [
    "algo=maml",
    "data=sinusoid",
    "backbone.hidden=[8]",
    "+families.low={data: sinusoid, set: {data: {amplitude: [0.1, 1.0]}, trainer: {meta_batch: 2}}}",
    "+families.high={data: sinusoid, set: {data: {amplitude: [4.0, 5.0]}, trainer: {meta_batch: 3}}}",
    "trainer.precision=float64",
    "trainer.pictures=0",
]


def families_of(overrides: list[str]) -> Families:
    config = compose(overrides)
    return build_families(config, open_sources(config))


def gradients(families: Families, step: int = 0) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The families' mean gradients and figures at a step."""
    families.module.train()
    update = stream_of(families, families.stages[0], World(0, 1)).update(step)
    figures = {name: float(values.sum()) / update.tasks for name, values in update.figures.items()}
    return {name: g / update.tasks for name, g in update.gradient.items()}, figures


@pytest.mark.parametrize("overrides", [DIGITS, WAVES], ids=["digits", "waves"])
def test_equal_weights_move_by_the_gradient_of_the_mean_loss(overrides: list[str]) -> None:
    """Of families with other numbers of tasks too: each counts by its own mean."""
    families = families_of(overrides)
    each, figures = gradients(families)
    update = families.combined(each, figures, 0)
    wanted: dict[int, Tensor] = {}
    for name, parts in families.each.items():
        alone, loss = gradients(Families(parts.config, {name: parts}, parts.learner, None))
        assert loss["loss"] == pytest.approx(figures[f"{name}/loss"], rel=1e-12)
        for weight_name, weight in parts.learner.named_parameters():
            share = alone[weight_name] / len(families.each)
            wanted[id(weight)] = wanted.get(id(weight), torch.zeros_like(weight)) + share
    named = dict(families.module.named_parameters())
    assert update.keys() == named.keys()
    for name, weight in named.items():
        torch.testing.assert_close(update[name], wanted[id(weight)], rtol=1e-12, atol=1e-15)
    assert figures["loss"] == pytest.approx(sum(figures[f"{n}/loss"] for n in families.each) / len(families.each))


def test_families_share_the_backbone_and_nothing_else() -> None:
    families = families_of(DIGITS)
    shared = {id(weight) for weight in families.shared_weights}
    for parts in families.each.values():
        names = {name for name, weight in parts.learner.named_parameters() if id(weight) in shared}
        assert names == {name for name, _ in parts.learner.named_parameters() if ".backbone." in name}
    one, two, *_ = families.each.values()
    zeros, ones = (torch.full((16,), value, dtype=torch.float64) for value in (0.0, 1.0))
    families.update_running([(ones, ones), (zeros, ones), (zeros, ones), (zeros, ones)], 0)
    means = [parts.learner.network._norms[0].running_mean.sum() for parts in (one, two)]
    assert means[0] > 0 and means[1] == 0  # each family's averages are its own


def test_a_static_weight_of_zero_leaves_a_family_alone() -> None:
    families = families_of([*WAVES, "weighting=static", "+weighting.weights={low: 0, high: 1}"])
    update = families.combined(*gradients(families), 0)
    names = {id(weight): name for name, weight in families.module.named_parameters()}
    head = [update[names[id(weight)]] for weight in families.each["low"].learner.network.head.parameters()]  # type: ignore[union-attr]
    assert all(not g.any() for g in head)


def test_a_few_shot_family_beside_an_ordinary_one_has_the_weight_that_is_given() -> None:
    """sum_t lambda_t L_t + lambda_meta L_meta: gradients of tasks and of minibatches in one update."""
    meta = "families.waves={data: sinusoid, algo: maml}"
    usual = "families.digit={data: digits, algo: joint, set: {data: {target: digit}}}"
    small = ["backbone.hidden=[16]", "trainer.precision=float64", "trainer.batch_size=8", "trainer.meta_batch=2"]
    mixed = ["data=digits", "sharing=trunk", "weighting=static", "weighting.weights={waves: 0.6, digit: 0.2}"]
    families = families_of([meta, usual, *small, *mixed])
    each, figures = gradients(families)
    update = families.combined(each, figures, 0)
    shared = {id(weight) for weight in families.shared_weights}
    assert shared and families.shares == pytest.approx({"waves": 0.75, "digit": 0.25})
    named = dict(families.module.named_parameters())
    for weight in families.shared_weights:
        parts = []
        for name, share in (("waves", 0.75), ("digit", 0.25)):
            alone, _ = gradients(
                Families(families.each[name].config, {name: families.each[name]}, families.each[name].learner, None)
            )
            own = {id(w): n for n, w in families.each[name].learner.named_parameters()}
            parts.append(share * alone[own[id(weight)]])
        found = next(update[n] for n, w in named.items() if w is weight)
        assert all(part.abs().max() > 0 for part in parts)
        torch.testing.assert_close(found, parts[0] + parts[1], rtol=1e-9, atol=1e-12)


def test_the_documented_commands_do_what_they_say() -> None:
    """As docs/multitask.md writes them: `digit` has twice the weight, and `odd` sees what the head of `digit` says."""
    weighed = families_of([*DIGITS, "weighting=static", "weighting.weights={digit: 2}"])
    weighed.combined(*gradients(weighed), 0)
    assert weighed.shares == pytest.approx({"digit": 0.4, "odd": 0.2, "large": 0.2, "prime": 0.2})
    fed = families_of([*DIGITS, "sharing=cascade", "sharing.feeds={odd: digit}"])
    sizes = {name: sum(w.numel() for w in parts.learner.parameters()) for name, parts in fed.each.items()}
    assert sizes["odd"] > sizes["large"] == sizes["prime"]  # which see the images alone


def test_a_stopped_run_of_families_goes_on_as_an_unbroken_one(tmp_path: Path) -> None:
    overrides = [
        *WAVES,
        "weighting=pcgrad",
        "trainer.schedule.name=constant",
        "trainer.validate_every=2",
        "eval.episodes=20",
        "eval.val_episodes=10",
        "eval.gap_episodes=10",
    ]
    first, second = unbroken_and_resumed(compose(overrides), tmp_path)
    assert first["families"] == second["families"]
    assert first["families"].keys() == {"low", "high"} and first["best"] == second["best"]
    columns: list[str] = first["episodes_columns"]
    assert {"low/mse", "high/mse"} <= set(columns)


@pytest.mark.parametrize(
    "overrides, said",
    [
        (["+families.a={dota: sinusoid}"], "families.a: must name its data"),
        (["+families.a={data: sinusoid, sat: {}}"], "families.a.sat: no such key; did you mean set?"),
        (
            ["+families.a={data: digits, set: {data: {targt: odd}}}"],
            "families.a: data.targt: no such key; did you mean",
        ),
        (["+families.a={data: nothing}"], "families.a: data=nothing: there is no such option"),
        (["+families.test={data: sinusoid}"], "families.test: choose a name"),
    ],
)
def test_a_family_that_is_wrong_is_refused_by_name(overrides: list[str], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        compose(["algo=maml", "data=sinusoid", *overrides])
    assert any(problem.startswith(said) for problem in refused.value.problems), refused.value.problems


@pytest.mark.parametrize(
    "overrides, said",
    [
        (
            ["+families.a={data: sinusoid}", "+families.b={data: digits, algo: joint}"],
            "shape|families share one backbone",
        ),
        (
            ["+families.a={data: sinusoid}", "+families.b={data: sinusoid, algo: protonet}"],
            "families share one backbone",
        ),
        (
            ["+families.a={data: sinusoid}", "+families.b={data: sinusoid, set: {backbone: {hidden: [8]}}}"],
            r"families.b has backbone.hidden=\[8\] and families.a backbone.hidden=\[40, 40\]: .* type backbone.hidden=",
        ),
        (
            ["weighting=pcgrad", "mixing.take=1", "mixing.rule=equal", *WAVES[3:5]],
            "mixing.take=1 takes one: set mixing.take=2 or more",
        ),
        (
            ["weighting=rlw", "mixing.take=1", "mixing.rule=equal", *WAVES[3:5]],
            "weighting=rlw weighs the families of one update",
        ),
        (["weighting=static", "+weighting.weights={c: 1}", *WAVES[3:5]], "weighting.weights.c: no such family"),
    ],
)
def test_families_that_cannot_share_are_refused(overrides: list[str], said: str) -> None:
    config: dict[str, Any] = compose(["algo=maml", "data=sinusoid", *overrides])
    with pytest.raises(UsageError, match=said):
        build_families(config, open_sources(config))


def test_an_experiments_backbone_and_batches_are_those_of_all_its_families() -> None:
    """Unless the user types others, or a family has its own."""

    def made(*overrides: str) -> list[tuple[Any, int]]:
        config = compose(["experiment=multitask/tables", *overrides])
        each = (family["config"] for family in config["families"].values())
        return [(own["backbone"], own["trainer"]["batch_size"]) for own in each]

    written = compose(["experiment=multitask/tables"])
    assert written["backbone"]["hidden"] != compose(["algo=joint", "data=table"])["backbone"]["hidden"]
    assert made() == [(written["backbone"], written["trainer"]["batch_size"])] * 2
    typed = made("backbone.hidden=[7]", "trainer.batch_size=5")
    assert [(backbone["hidden"], size) for backbone, size in typed] == [([7], 5)] * 2
    assert [backbone["name"] for backbone, _ in made("backbone=conv4")] == ["conv4"] * 2
    own = made("+families.income.set.trainer={batch_size: 9}")
    assert [size for _, size in own] == [9, written["trainer"]["batch_size"]]
