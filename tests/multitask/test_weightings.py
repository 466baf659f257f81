"""What holds for every weighting that conf/ offers; and each against a plain reading of its paper's formula."""

from __future__ import annotations

import copy
import io
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from metamtl.errors import UsageError
from metamtl.multitask.base import Combined, Weighting
from metamtl.multitask.relatedness import affinities
from tests.multitask.bowls import WEIGHTINGS, Bowls, weighting_of

CENTRES = [[2.0, 0.5, -1.0], [-1.0, 1.5, 0.5], [0.5, -2.0, 1.0]]
BY_ANGLE = ["aligned", "cagrad", "imtl", "mgda", "pcgrad"]
FIXED = ["equal", "static", "rlw", "dwa"]  # how long a gradient or how large a loss is changes no weight
MEMORYLESS = [*BY_ANGLE, "equal", "rlw", "static"]
CONFLICT = torch.tensor([[1.0, 0.0, 0.0], [-2.0, 1.0, 0.0]], dtype=torch.float64)


def of_classes(name: str, count: int, seed: int = 0) -> Weighting:
    """The option for `count` families; dwa with epochs of one update, so that its weights move at the third."""
    return weighting_of(name, ["classification"] * count, seed, **({"every": 1} if name == "dwa" else {}))


def combined(name: str, gradients: Tensor, losses: Tensor, step: int = 0, seed: int = 0) -> Combined:
    """The first update of a weighting, with losses that stay where they are."""
    weighting = of_classes(name, len(losses), seed).to(gradients.dtype)
    weighting.probe = lambda change, step, only=None: (
        (gradients, losses) if only is None else (gradients[only, None], losses[only, None])
    )
    return weighting.combine(gradients, losses, step)


def three(name: str, seed: int = 0) -> Weighting:
    return of_classes(name, 3, seed)


def drawn(shape: Sequence[int], seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- what holds for all ----


@pytest.mark.parametrize("name", sorted(set(WEIGHTINGS) - {"rlw"}))
def test_equal_losses_and_gradients_give_equal_shares(name: str) -> None:
    """Of sum one, also after steps, so that the run's rate means the same under every weighting."""
    bowls = Bowls([CENTRES[0]] * 4)
    alone = Bowls([CENTRES[0]])
    weighting = of_classes(name, 4)
    for step in range(3):
        weighting.probe = bowls
        update = weighting.combine(*bowls.at(bowls.weights, step), step)
        torch.testing.assert_close(update.factors, torch.full((4,), 0.25, dtype=torch.float64))
        torch.testing.assert_close(update.shares, update.factors)
        own = of_classes(name, 1)
        own.probe = alone
        torch.testing.assert_close(update.shared, own.combine(*alone.at(alone.weights, step), step).shared)


@pytest.mark.parametrize("name", WEIGHTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_it_goes_on_from_a_saved_state_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    options = {"every": 2} if name == "dwa" else {}
    whole, again = (weighting_of(name, ["classification"] * 3, **options).to(dtype) for _ in range(2))
    bowls = Bowls(CENTRES, [1.0, 5.0, 0.2])
    for tensor in ("centres", "steepness", "height", "weights"):
        setattr(bowls, tensor, getattr(bowls, tensor).to(dtype))
    bowls.descend(whole, range(5))
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    same = copy.deepcopy(bowls)
    again.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    first, second = bowls.descend(whole, range(5, 9)), same.descend(again, range(5, 9))
    assert torch.equal(torch.stack(first), torch.stack(second)) and torch.equal(bowls.weights, same.weights)
    assert first[0].dtype == bowls.weights.dtype == dtype


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_float32_is_near_float64(name: str) -> None:
    gradients, losses = drawn((3, 8)), drawn((3,)).abs() + 0.1
    exact, rounded = combined(name, gradients, losses), combined(name, gradients.float(), losses.float())
    assert rounded.shared.dtype == rounded.factors.dtype == torch.float32
    torch.testing.assert_close(rounded.shared.double(), exact.shared, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", WEIGHTINGS)
@pytest.mark.parametrize("zero", [[0], [0, 1, 2]], ids=["one", "all"])
def test_it_stays_finite_where_gradients_and_losses_are_zero(name: str, zero: list[int]) -> None:
    """As where no example of a minibatch has that family's label."""
    gradients, losses = drawn((3, 5)), torch.ones(3, dtype=torch.float64)
    gradients[zero], losses[zero] = 0.0, 0.0
    weighting = three(name)
    weighting.probe = lambda change, step, only=None: (
        (gradients, losses) if only is None else (gradients[only, None], losses[only, None])
    )
    for step in range(3):
        update = weighting.combine(gradients, losses, step)
        for tensor in (update.shared, update.factors, *update.own.values()):
            assert tensor.isfinite().all()


@pytest.mark.parametrize("name", ["dwa", "famo", "gradnorm", "uncertainty"])
def test_a_family_without_labels_in_an_update_takes_no_part(name: str) -> None:
    """Its loss and gradient are zero; what is learnt of it must be what is learnt where it is there."""
    bowls, weighting, again = Bowls(CENTRES, [1.0, 5.0, 0.2]), three(name), three(name)
    rows, losses = bowls.at(bowls.weights, 0)
    there = torch.tensor([1.0, 1.0, 0.0]).double()
    for one in (weighting, again):
        one.probe = bowls
    missed = weighting.combine(there[:, None] * rows, there * losses, 0)
    if name == "famo":
        wanted = there / losses
        torch.testing.assert_close(missed.factors, wanted / wanted.sum())
    elif name == "uncertainty":
        assert missed.own["log_variances"][2] == 0 and missed.own["log_variances"][:2].all()
    elif name == "dwa":
        factors = [one.combine(rows, losses, step).factors for one in (weighting, again) for step in range(1, 5)]
        torch.testing.assert_close(torch.stack(factors), torch.full((8, 3), 1 / 3).double())
    else:
        weighting.combine(rows, losses, 1)
        again.combine(rows, losses, 1)
        torch.testing.assert_close(weighting.state_dict()["first"], again.state_dict()["first"])


def test_dwa_averages_over_the_updates_that_a_family_is_in() -> None:
    """One without a label in an epoch keeps the rate of a loss that stands still, until it was in two."""
    weighting = weighting_of("dwa", ["classification"] * 2, temperature=2.0, every=2)
    losses = torch.tensor([[4, 4], [2, 0], [1, 0], [1, 0], [1, 3], [2, 3], [3, 0], [3, 1], [1, 1]]).double()
    factors = []
    for step, row in enumerate(losses):
        factors.append(weighting.combine(torch.eye(2).double(), row, step).factors)
        assert all(tensor.isfinite().all() for tensor in weighting.state_dict().values())
    rates = torch.tensor([[1 / 3, 1.0], [1.5, 1.0], [2.0, 1 / 3]]).double()
    torch.testing.assert_close(torch.stack(factors[4::2]), torch.softmax(rates / 2, 1))


def test_gradnorm_sets_the_pace_by_the_families_that_are_there() -> None:
    """At one pace the longer gradient loses weight to the shorter, whoever is absent; this mean length is 1."""
    rows, losses = torch.diag(torch.tensor([1.1, 0.9, 0.0])).double(), torch.tensor([1.0, 2.0, 0.0]).double()
    for count in (2, 3):
        weighting = weighting_of("gradnorm", ["classification"] * count)
        weighting.combine(rows[:count], losses[:count], 0)
        shares = weighting.state_dict()["shares"]
        assert shares[0] / shares[1] == pytest.approx((1 - 0.025 * 1.1) / (1 + 0.025 * 0.9))


def test_famo_learns_nothing_of_a_family_that_was_absent() -> None:
    rows, losses = drawn((3, 5)), drawn((3,)).abs() + 0.1
    there = torch.tensor([1.0, 1.0, 0.0]).double()
    weighting = weighting_of("famo", ["classification"] * 3, decay=0.0).double()
    weighting.probe = lambda change, step, only=None: (rows, there * losses * torch.tensor([0.5, 0.8, 1.0]))
    weighting.combine(there[:, None] * rows, there * losses, 0)
    weighting.combine(rows, losses, 1)
    logits = weighting.state_dict()["logits"]
    assert logits[2] == 0 and logits[0] < 0 < logits[1]  # the slower weighs more


def test_famo_does_not_drift_on_what_it_learnt_of_a_family_before_it_was_absent() -> None:
    rows, losses = drawn((3, 5)), drawn((3,)).abs() + 0.1
    weighting = weighting_of("famo", ["classification"] * 3)
    there = torch.ones(3).double()
    weighting.probe = lambda change, step, only=None: (rows, there * losses * torch.tensor([0.5, 0.8, 0.9]))
    for step in range(4):
        weighting.combine(rows, losses, step)
    held = weighting.state_dict()["logits"].clone()
    there = torch.tensor([1.0, 1.0, 0.0]).double()
    weighting.combine(rows, losses, 4)
    moved = weighting.state_dict()["logits"] != held
    assert moved.tolist() == [True, True, False]


@pytest.mark.parametrize("name", MEMORYLESS)
def test_a_step_is_as_long_as_the_gradients_are(name: str) -> None:
    """Of degree one: a loss in other units is a loss with another rate."""
    gradients, losses = drawn((3, 5)), torch.ones(3, dtype=torch.float64)
    once, scaled = combined(name, gradients, losses), combined(name, 1e3 * gradients, losses)
    torch.testing.assert_close(scaled.shared, 1e3 * once.shared, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", FIXED)
def test_fixed_weights_do_not_look_at_scales(name: str) -> None:
    once, scaled = (Bowls(CENTRES, [scale, 1.0, 1.0]).descend(three(name), range(3), 0.0) for scale in (1.0, 50.0))
    torch.testing.assert_close(torch.stack(scaled), torch.stack(once))


@pytest.mark.parametrize("name", ["imtl", "famo"])
def test_the_direction_is_free_of_one_familys_scale(name: str) -> None:
    gradients, losses, scale = drawn((3, 5)), drawn((3,)).abs() + 0.1, torch.tensor([50.0, 1.0, 1.0]).double()
    once, scaled = combined(name, gradients, losses), combined(name, scale[:, None] * gradients, scale * losses)
    cosine = torch.nn.functional.cosine_similarity(once.shared, scaled.shared, dim=0)
    assert cosine == pytest.approx(1, abs=1e-9)


def looking_ahead(name: str, units: Sequence[float], rate: float, **options: Any) -> Combined:
    """The first update of a weighting that steps elsewhere, of bowls whose losses are in these units.

    What it learns starts as much smaller as the units are larger.
    """
    bowls, weighting = Bowls(CENTRES, units), weighting_of(name, ["classification"] * 3, rate=rate, **options)
    for learnt in weighting.parameters():
        learnt.data = torch.tensor([0.5, 0.3, 0.2]).double() / bowls.steepness
    weighting.probe = bowls
    return weighting.combine(*bowls.at(bowls.weights, 0), 0)


@pytest.mark.parametrize("name", ["affinity", "model_averaging"])
def test_the_unit_of_all_losses_is_that_of_one_over_the_rate(name: str) -> None:
    """Losses 50 times as large, at a 50th of the rate, make 50 times the update, by the same weights."""
    once, scaled = (looking_ahead(name, [unit] * 3, 0.1 / unit) for unit in (1.0, 50.0))
    torch.testing.assert_close(scaled.shares, once.shares)
    torch.testing.assert_close(scaled.shared, 50 * once.shared)


@pytest.mark.parametrize(("steepness", "near"), [(0.01, 1.0), (5.0, 0.6), (50.0, 4.4)])
def test_model_averaging_at_one_rate_is_a_mean_along_the_way(steepness: float, near: float) -> None:
    """1, 1 - s, (1 - s)^2 of the gradient, with s the rate times the steepness: shorter, until s is beyond 2."""
    update = looking_ahead("model_averaging", [steepness] * 3, 0.1)
    there = update.shared.norm() / Bowls(CENTRES, [steepness] * 3).at(torch.zeros(3).double(), 0)[0].mean(0).norm()
    assert there == pytest.approx(near, rel=0.2)  # the examples of later steps have other minima


def test_affinity_is_free_of_the_unit_of_the_loss_that_is_met() -> None:
    """Where no gradient is longer for it: a share of the loss is taken away, whatever it is told in."""
    weights, unit = [], torch.tensor([50.0, 1.0, 0.1]).double()
    for told in (torch.ones(3).double(), unit):
        bowls, weighting = Bowls(CENTRES, [1.0, 3.0, 0.5]), three("affinity")
        weighting.probe = lambda change, step, bowls=bowls, told=told: (
            bowls(change, step)[0],
            told * bowls(change, step)[1],
        )
        gradients, losses = bowls.at(bowls.weights, 0)
        weights.append(weighting.combine(gradients, told * losses, 0).shares)
    torch.testing.assert_close(weights[1], weights[0])
    assert weights[0].max() > 0.4


def test_affinity_weighs_longer_gradients_more_until_their_steps_overshoot() -> None:
    """A step for the first family helps the others, and one of five times the unit helps more; one of 50 harms them."""
    alike = [[2.0, 0.5, -1.0], [2.0, 0.0, -1.0], [2.0, 0.5, -1.5]]
    found = []
    for unit in (1.0, 5.0, 50.0):
        bowls, weighting = Bowls(alike, [unit, 1.0, 1.0]), three("affinity")
        weighting.probe = bowls
        found.append(float(weighting.combine(*bowls.at(bowls.weights, 0), 0).shares[0]))
    once, longer, beyond = found
    assert longer > 2 * once and beyond < 1e-6


def test_auto_lambda_has_a_slope_as_long_as_a_familys_loss_is_large() -> None:
    """Where its weight is as much smaller, so that the step ahead is the same; the others' slopes stay."""
    once, scaled = (looking_ahead("auto_lambda", [unit, 1.0, 1.0], 0.1, primary=["family1"]) for unit in (1.0, 50.0))
    torch.testing.assert_close(scaled.shared, once.shared)
    wanted = torch.tensor([50.0, 1.0, 1.0]).double() * once.own["lambdas"]
    torch.testing.assert_close(scaled.own["lambdas"], wanted)
    assert once.own["lambdas"].abs().min() > 1e-3


def test_auto_lambda_at_a_rate_as_much_smaller_looks_ahead_to_the_same_place() -> None:
    """All losses 50 times as large and the rate a 50th: the same weights take 50 times the slope."""
    found = []
    for unit in (1.0, 50.0):
        bowls, weighting = (
            Bowls(CENTRES, [unit] * 3),
            weighting_of("auto_lambda", ["classification"] * 3, rate=0.1 / unit),
        )
        weighting.probe = bowls
        found.append(weighting.combine(*bowls.at(bowls.weights, 0), 0).own["lambdas"])
    torch.testing.assert_close(found[1], 50 * found[0])


@pytest.mark.parametrize("name", ["mgda", "gradnorm", "uncertainty"])
def test_a_family_of_larger_scale_comes_to_weigh_less(name: str) -> None:
    factors = Bowls([CENTRES[0]] * 2, [9.0, 1.0]).descend(weighting_of(name, ["classification"] * 2), range(60), 0.02)
    assert factors[-1][0] < 0.7 * factors[-1][1]


@pytest.mark.parametrize("name", BY_ANGLE)
def test_a_conflict_is_resolved(name: str) -> None:
    """The mean gradient raises the first loss; cagrad, which stays near it, raises it less."""
    losses = torch.ones(2, dtype=torch.float64)
    plain = (CONFLICT @ CONFLICT.mean(0)).min()
    assert plain < 0
    worst = (CONFLICT @ combined(name, CONFLICT, losses).shared).min()
    assert worst > plain / 2 if name == "cagrad" else worst > -1e-6


@pytest.mark.parametrize("name", BY_ANGLE)
def test_what_a_family_has_alone_descends_on_the_mean_of_the_losses(name: str) -> None:
    """Whatever the weights of the shared gradients are, of which one of imtl's is below zero here."""
    rows = CONFLICT
    if name == "imtl":
        rows = torch.tensor([[1.0, 0.0], [1.0, 0.3], [1.0, -0.3], [3.0, 0.0]]).double()
        rows = torch.cat([rows, torch.diag(torch.tensor([0.2, 0.2, 0.2, 0.0])).double()], 1)
    found = combined(name, rows, torch.ones(len(rows)).double())
    torch.testing.assert_close(found.factors, torch.full((len(rows),), 1 / len(rows)).double())
    torch.testing.assert_close(found.shares @ rows, found.shared)
    assert not torch.allclose(found.shares, found.factors)
    if name == "imtl":
        assert found.shares.min() < 0 and found.shares.sum() == pytest.approx(1)


def test_every_weighting_that_looks_elsewhere_or_remembers_needs_all_families() -> None:
    """But for uncertainty, which has one number for each, and moves those of the families that are there."""
    some = {name for name in WEIGHTINGS if not three(name).needs_all}
    assert some == (set(MEMORYLESS) - {"static"}) | {"uncertainty"}


# ---- each against its paper ----


def test_uncertainty_is_the_likelihood_of_numbers_and_the_tempered_one_of_classes() -> None:
    errors, variances = drawn((40,)), torch.tensor([0.7, 1.9], dtype=torch.float64)
    losses = torch.stack([errors.square().mean(), torch.tensor(1.3, dtype=torch.float64)])
    weighting = weighting_of("uncertainty", ["regression", "classification"])
    weighting.load_state_dict({"log_variances": variances.log()})
    update = weighting.combine(torch.eye(2, dtype=torch.float64), losses, 0)
    logs, moving = variances.log().requires_grad_(), errors.clone().requires_grad_()
    normal = torch.distributions.Normal(torch.zeros(40, dtype=torch.float64), (logs[0] / 2).exp())
    density = normal.log_prob(moving)  # type: ignore[no-untyped-call]
    tempered = losses[1] * torch.exp(-logs[1]) + logs[1] / 2
    wanted = torch.autograd.grad((-density.mean() + tempered) / 2, [logs, moving])
    torch.testing.assert_close(update.own["log_variances"], wanted[0])
    torch.testing.assert_close(update.factors[0] * 2 * errors / 40, wanted[1])
    torch.testing.assert_close(update.factors[1], torch.exp(-variances.log()[1]) / 2)


def test_dwa_weighs_by_the_fall_between_two_epochs() -> None:
    weighting = weighting_of("dwa", ["classification"] * 2, temperature=2.0, every=3)
    losses = 3 * drawn((9, 2)).abs()
    factors = [weighting.combine(torch.eye(2).double(), row, step).factors for step, row in enumerate(losses)]
    torch.testing.assert_close(torch.stack(factors[:6]), torch.full((6, 2), 0.5, dtype=torch.float64))
    epochs = losses.reshape(3, 3, 2).mean(1)
    torch.testing.assert_close(factors[6], torch.softmax(epochs[1] / epochs[0] / 2.0, 0))


def test_dwa_takes_the_state_of_runs_that_did_not_count_by_family() -> None:
    weighting, again = (weighting_of("dwa", ["classification"] * 2, every=2) for _ in range(2))
    losses = 3 * drawn((8, 2)).abs()
    for step, row in enumerate(losses[:5]):
        weighting.combine(torch.eye(2).double(), row, step)
    state = torch.nn.ModuleDict({"weighting": weighting}).state_dict()
    assert state.pop("weighting.counts").tolist() == [1, 1]
    torch.nn.ModuleDict({"weighting": again}).load_state_dict({**state, "weighting.epochs": torch.tensor(2)})
    for step, row in enumerate(losses[5:], 5):
        wanted, found = (one.combine(torch.eye(2).double(), row, step).factors for one in (weighting, again))
        assert torch.equal(found, wanted) and not torch.allclose(found, found.mean())


def test_random_weights_differ_by_step_and_seed_and_are_equal_on_average() -> None:
    one, two, losses = three("rlw"), three("rlw", seed=1), torch.ones(3, dtype=torch.float64)
    first = [one.combine(torch.eye(3).double(), losses, step).factors for step in range(600)]
    other = two.combine(torch.eye(3).double(), losses, 0).factors
    assert not torch.allclose(first[0], first[1]) and not torch.allclose(first[0], other)
    torch.testing.assert_close(torch.stack(first).sum(1), torch.ones(600, dtype=torch.float64))
    torch.testing.assert_close(torch.stack(first).mean(0), torch.full((3,), 1 / 3).double(), rtol=0, atol=0.04)


def test_gradnorm_descends_the_distance_from_a_common_pace() -> None:
    weighting, bowls = weighting_of("gradnorm", ["classification"] * 3, alpha=1.5, lr=0.01), Bowls(CENTRES, [1, 3, 0.5])
    first = bowls.at(bowls.weights, 0)[1]
    shares = torch.ones(3, dtype=torch.float64)
    for step in range(4):
        gradients, losses = bowls.at(bowls.weights, step)
        torch.testing.assert_close(weighting.combine(gradients, losses, step).factors, shares / 3)
        bowls.weights = bowls.weights - 0.05 * shares @ gradients / 3
        moving = shares.clone().requires_grad_()
        lengths = moving * gradients.norm(dim=1)
        left = losses / first
        target = (lengths.mean() * (left / left.mean()) ** 1.5).detach()
        (slope,) = torch.autograd.grad((lengths - target).abs().sum(), moving)
        moved = shares - 0.01 * slope / gradients.norm(dim=1).mean()
        assert ((moved * gradients.norm(dim=1) - target) * slope > 0).all()  # as yet, none would step over its target
        shares = moved * 3 / moved.sum()


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
def test_gradnorm_settles_where_weighted_gradients_are_equally_long(unit: float) -> None:
    """At equal losses, in any unit, without stepping over the target and back."""
    weighting, lengths = weighting_of("gradnorm", ["classification"] * 2), unit * torch.tensor([200.0, 1.0]).double()
    ratios = []
    for step in range(60):
        factors = weighting.combine(torch.diag(lengths), unit * torch.ones(2).double(), step).factors
        ratios.append(float(factors @ torch.diag(lengths)[0] / (factors @ torch.diag(lengths)[1])))
    assert ratios[0] == pytest.approx(200) and ratios[-1] == pytest.approx(1, rel=1e-2)
    assert all(1 - 1e-9 <= later <= earlier + 1e-9 for earlier, later in itertools.pairwise(ratios))


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_static_refuses_weights_that_cannot_be_normalised(weight: float) -> None:
    for weights in ({"family0": weight}, {"family0": 0, "family1": 0}, {"family0": 3e38, "family1": 3e38}):
        with pytest.raises(UsageError, match=r"weighting\.weights: none may be negative"):
            weighting_of("static", ["classification"] * 2, weights=weights)


@pytest.mark.parametrize("seed", range(3))
def test_mgda_is_the_shortest_step_in_the_hull(seed: int) -> None:
    gradients = drawn((3, 2), seed)
    found = combined("mgda", gradients, torch.ones(3).double())
    assert found.shares.min() >= 0 and found.shares.sum() == pytest.approx(1)
    grid = torch.cartesian_prod(*[torch.linspace(0, 1, 101).double()] * 2)
    grid = torch.cat([grid, 1 - grid.sum(1, keepdim=True)], 1)
    assert found.shared.norm() <= (grid[grid[:, 2] >= 0] @ gradients).norm(dim=1).min() + 1e-9


def test_pcgrad_loses_what_points_against_the_others() -> None:
    a, b = CONFLICT
    wanted = (a - (a @ b) / (b @ b) * b + b - (a @ b) / (a @ a) * a) / 2
    torch.testing.assert_close(combined("pcgrad", CONFLICT, torch.ones(2).double()).shared, wanted)
    agreeing = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).double()
    found = combined("pcgrad", agreeing, torch.ones(2).double()).shared
    torch.testing.assert_close(found, agreeing.mean(0))


@pytest.mark.parametrize("seed", range(4))
def test_cagrad_helps_the_worst_off_most_near_the_mean(seed: int) -> None:
    gradients = drawn((3, 2), seed)
    step = combined("cagrad", gradients, torch.ones(3).double()).shared * 1.4  # undivided
    mean = gradients.mean(0)
    radius = 0.4 * mean.norm()
    assert (step - mean).norm() <= radius * (1 + 1e-6)
    angles = torch.linspace(0, 2 * torch.pi, 20000, dtype=torch.float64)
    around = mean + radius * torch.stack([angles.cos(), angles.sin()], 1)
    assert (gradients @ step).min() >= (around @ gradients.T).min(1).values.max() - 1e-6 * radius


def test_imtl_projects_alike_on_all_gradients() -> None:
    gradients = drawn((3, 6)) * torch.tensor([[1.0], [10.0], [0.1]]).double()
    found = combined("imtl", gradients, torch.ones(3).double())
    projections = gradients @ found.shared / gradients.norm(dim=1)
    torch.testing.assert_close(projections, projections[:1].expand(3))
    weights = torch.linalg.lstsq(gradients.T, found.shared).solution  # one of them is below zero
    assert weights.sum() == pytest.approx(1)


def test_aligned_gives_all_components_the_smallest_length() -> None:
    gradients = drawn((3, 6)) * torch.tensor([[1.0], [10.0], [0.1]]).double()
    left, lengths, right = torch.linalg.svd(gradients, full_matrices=False)
    wanted = (lengths[-1] * left @ right).mean(0)
    torch.testing.assert_close(combined("aligned", gradients, torch.ones(3).double()).shared, wanted)


def test_famo_learns_from_the_fall_of_the_log_losses() -> None:
    """Descended on by Adam with the decay in the slope, as the authors' code has it."""
    weighting, bowls = weighting_of("famo", ["classification"] * 3, lr=0.5, decay=0.01), Bowls(CENTRES, [1, 9, 0.5])
    weighting.probe = bowls  # which says something else of another step than that of the update
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.5, weight_decay=0.01)
    for step in range(5):
        gradients, before = bowls.at(bowls.weights, step)
        update = weighting.combine(gradients, before, step)
        torch.testing.assert_close(weighting.state_dict()["logits"], logits.detach(), rtol=1e-9, atol=1e-12)
        wanted = torch.softmax(logits.detach(), 0) / before
        torch.testing.assert_close(update.factors, wanted / wanted.sum())
        bowls.weights = bowls.weights - 0.1 * update.shared
        fall = before.log() - bowls.at(bowls.weights, step)[1].log()
        (logits.grad,) = torch.autograd.grad(torch.softmax(logits, 0) @ fall, logits)
        adam.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_famo_moves_as_far_however_small_the_falls_are(dtype: torch.dtype) -> None:
    """By about `lr` an update, where plain descent would move by 1e-5: few updates are enough to balance losses."""
    rows, losses = drawn((2, 5)).to(dtype), torch.ones(2, dtype=dtype)
    weighting = weighting_of("famo", ["classification"] * 2, lr=0.025, decay=0.0).to(dtype)
    weighting.probe = lambda change, step, only=None: (rows, losses * torch.tensor([0.999, 1.0], dtype=dtype))
    for step in range(41):
        weighting.combine(rows, losses, step)
    logits = weighting.state_dict()["logits"]
    torch.testing.assert_close(logits, torch.tensor([-1.0, 1.0], dtype=dtype), rtol=0.25, atol=0)


@pytest.mark.parametrize("primary", [[], ["family1"]], ids=["all", "one"])
def test_auto_lambda_is_the_slope_of_the_loss_ahead(primary: list[str]) -> None:
    weighting = weighting_of("auto_lambda", ["classification"] * 3, primary=primary, rate=0.2)
    bowls = Bowls(CENTRES, [1, 3, 0.5])
    weighting.probe = bowls
    gradients, losses = bowls.at(bowls.weights, 2)
    update = weighting.combine(gradients, losses, 2)

    def ahead(lambdas: Tensor) -> Tensor:
        after = bowls.at(bowls.weights - 0.2 * lambdas @ gradients, 3)[1]  # on the examples of the next update
        return after[1] if primary else after.mean()

    at = torch.full((3,), 1 / 3, dtype=torch.float64)
    nudges = 1e-6 * torch.eye(3, dtype=torch.float64)
    wanted = torch.stack([(ahead(at + nudge) - ahead(at - nudge)) / 2e-6 for nudge in nudges])
    torch.testing.assert_close(update.own["lambdas"], wanted, rtol=1e-6, atol=1e-9)


def test_auto_lambda_leaves_a_family_out_whose_weight_fell_below_zero() -> None:
    """Of the update and of the step ahead; the slope may bring it back."""
    weighting, bowls = weighting_of("auto_lambda", ["classification"] * 3, rate=0.2), Bowls(CENTRES, [1, 3, 0.5])
    weighting.probe = bowls
    gradients, losses = bowls.at(bowls.weights, 0)
    found = []
    for lowest in (-0.3, 0.0):
        weighting.load_state_dict({"lambdas": torch.tensor([0.5, lowest, 0.2], dtype=torch.float64)})
        found.append(weighting.combine(gradients, losses, 0))
    below, none = found
    assert below.factors[1] == 0 and below.own["lambdas"][1] != 0
    torch.testing.assert_close(below.shared, none.shared)
    torch.testing.assert_close(below.own["lambdas"], none.own["lambdas"])


def test_auto_lambda_refuses_a_primary_family_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"weighting.primary: there is no family c; there are family0, family1"):
        weighting_of("auto_lambda", ["classification"] * 2, primary=["c"])


def test_model_averaging_is_the_mean_of_trained_copies() -> None:
    weighting, bowls = (
        weighting_of("model_averaging", ["classification"] * 3, steps=4, rate=0.05),
        Bowls(CENTRES, [1, 3, 9]),
    )
    weighting.probe = bowls
    copies = [bowls.weights.clone() for _ in CENTRES]
    for step, (number, own) in itertools.product(range(2, 6), list(enumerate(copies))):
        own -= 0.05 * bowls.at(own, step)[0][number]
    update = weighting.combine(*bowls.at(bowls.weights, 2), 2)
    torch.testing.assert_close(bowls.weights - 0.05 * 4 * update.shared, torch.stack(copies).mean(0))


def test_affinity_weighs_by_what_a_step_does_to_the_others() -> None:
    weighting = weighting_of("affinity", ["classification"] * 3, temperature=0.1, decay=0.75, every=2, rate=0.1)
    bowls = Bowls(CENTRES, [1, 3, 0.5])
    weighting.probe = bowls
    means = []
    for step in range(3):
        gradients, losses = bowls.at(bowls.weights, step)
        found = affinities(gradients, losses, bowls, 0.1, step)
        means.append(torch.stack([(found[i].sum() - found[i, i]) / 2 for i in range(3)]))
        factors = weighting.combine(gradients, losses, step).factors
        bowls.weights = bowls.weights - 0.05 * gradients.mean(0)
    torch.testing.assert_close(factors, torch.softmax((0.75 * means[0] + 0.25 * means[2]) / 0.1, 0))
