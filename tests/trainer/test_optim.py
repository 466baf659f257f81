"""The outer optimiser, its schedules at their ends, and clipping."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metamtl.trainer.optim import clip, make_optimizer, rate_factor, set_rate

STEPS = 100


def schedule(name: str, **changes: Any) -> dict[str, Any]:
    plain = {"name": name, "warmup": 0, "every": 10, "at": [30, 60], "factor": 0.5, "final": 0.1}
    return {**plain, **changes}


def factors(name: str, **changes: Any) -> list[float]:
    return [rate_factor(schedule(name, **changes), step, STEPS) for step in range(STEPS)]


# ---- schedules ----


def test_constant_stays() -> None:
    assert factors("constant") == [1.0] * STEPS


@pytest.mark.parametrize("name", ["cosine", "linear"])
@pytest.mark.parametrize("final", [0.0, 0.1, 1.0])
def test_decays_go_from_one_to_their_end(name: str, final: float) -> None:
    found = factors(name, final=final)
    assert found[0] == pytest.approx(1)
    assert found[50] == pytest.approx((1 + final) / 2)
    assert rate_factor(schedule(name, final=final), STEPS, STEPS) == pytest.approx(final)
    assert rate_factor(schedule(name, final=final), 10 * STEPS, STEPS) == pytest.approx(final)
    assert all(a >= b for a, b in pairwise(found))
    assert found[-1] == pytest.approx(final, abs=0.011)


def test_linear_is_linear_and_cosine_is_torchs() -> None:
    linear = factors("linear", final=0.0)
    assert linear == pytest.approx([1 - step / STEPS for step in range(STEPS)])
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min=0.1)
    for factor in factors("cosine"):
        assert factor == pytest.approx(torchs.get_last_lr()[0])
        optimizer.step()
        torchs.step()


def test_steps_and_milestones_decay_at_their_steps() -> None:
    found = factors("step")
    assert found[0] == found[9] == 1 and found[10] == found[19] == 0.5 and found[99] == 0.5**9
    found = factors("milestones")
    assert found[29] == 1 and found[30] == found[59] == 0.5 and found[60] == found[99] == 0.25
    assert factors("milestones", at=[]) == [1.0] * STEPS


@pytest.mark.parametrize("name", ["constant", "cosine", "linear"])
def test_warm_up_rises_from_above_zero_and_ends_at_one(name: str) -> None:
    found = factors(name, warmup=10, final=0.0)
    assert found[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert found[10] == 1
    assert rate_factor(schedule(name, warmup=10, final=0.0), STEPS, STEPS) == pytest.approx(float(name == "constant"))


@pytest.mark.parametrize("name", ["constant", "cosine", "linear", "step", "milestones"])
def test_no_length_or_warm_up_breaks_a_schedule(name: str) -> None:
    for steps, warmup in ((0, 0), (1, 0), (1, 1), (5, 5), (5, 50)):
        for step in range(steps + 1):
            assert 0 <= rate_factor(schedule(name, warmup=warmup), step, steps) <= 1


# ---- optimisers ----


def options(name: str, **changes: Any) -> dict[str, Any]:
    plain = {"name": name, "lr": 0.1, "weight_decay": 0.01, "momentum": 0.9, "nesterov": False}
    return {**plain, **changes}


OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_name_is_torchs_optimiser_with_its_options(name: str) -> None:
    optimizer = make_optimizer(options(name), [nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, OPTIMIZERS[name]) and type(optimizer).__name__ == OPTIMIZERS[name].__name__
    (group,) = optimizer.param_groups
    assert group["lr"] == 0.1 and group["weight_decay"] == 0.01
    assert group.get("momentum", 0.9) == 0.9
    set_rate(optimizer, 0.025)
    assert optimizer.param_groups[0]["lr"] == 0.025


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.9, False), (0.0, True)])
def test_nesterov_needs_momentum(momentum: float, nesterov: bool) -> None:
    sgd = make_optimizer(options("sgd", momentum=momentum, nesterov=nesterov), [nn.Parameter(torch.zeros(1))])
    assert sgd.param_groups[0]["nesterov"] is (nesterov and momentum > 0)


# ---- clipping ----


def gradients() -> list[Tensor]:
    return [torch.tensor([3.0, -4.0]), torch.tensor([[12.0]])]  # of norm 13


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def test_nothing_is_clipped_unasked_or_within_bounds() -> None:
    for norm, value in ((None, None), (14.0, None), (None, 13.0), (14.0, 13.0)):
        found = gradients()
        assert float(clip(found, norm, value)) == pytest.approx(13)
        assert torch.equal(flat(found), flat(gradients()))


def test_the_norm_is_clipped_over_all_tensors() -> None:
    found, torchs = gradients(), [nn.Parameter(torch.zeros_like(g)) for g in gradients()]
    assert float(clip(found, 1.3, None)) == pytest.approx(13)
    assert float(flat(found).norm()) == pytest.approx(1.3, rel=1e-6)
    for weight, g in zip(torchs, gradients(), strict=True):
        weight.grad = g
    nn.utils.clip_grad_norm_(torchs, 1.3)
    torch.testing.assert_close(flat(found), flat([weight.grad for weight in torchs if weight.grad is not None]))


def test_values_are_clipped_first_and_then_the_norm() -> None:
    found = gradients()
    assert float(clip(found, None, 3.5)) == pytest.approx(13)
    assert flat(found).tolist() == [3.0, -3.5, 3.5]
    both = gradients()
    assert float(clip(both, 1.0, 3.5)) == pytest.approx(13)
    torch.testing.assert_close(flat(both), flat(found) / flat(found).norm(), rtol=1e-5, atol=1e-6)


def test_a_gradient_that_is_not_finite_is_told_by_its_norm() -> None:
    for bad in (float("nan"), float("inf")):
        for norm, value in ((None, None), (1.0, None), (None, 1.0)):
            assert not torch.isfinite(clip([torch.tensor([1.0, bad])], norm, value))


def test_zero_gradients_stay_zero() -> None:
    found = [torch.zeros(3)]
    assert float(clip(found, 1.0, 1.0)) == 0
    assert torch.equal(found[0], torch.zeros(3))


# ---- without torch's compiler ----


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimisers_are_torchs_own_bit_for_bit(name: str) -> None:
    left_out = ("name", "nesterov", "momentum") if name.startswith("adam") else ("name", "nesterov")
    given = {key: value for key, value in options(name).items() if key not in left_out}
    weights = [nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2)]
    ours, torchs = make_optimizer(options(name), weights[:1]), OPTIMIZERS[name](weights[1:], **given)
    for step in range(4):
        for weight, optimizer in zip(weights, (ours, torchs), strict=True):
            optimizer.zero_grad()
            assert weight.grad is None
            weight.grad = torch.cos(torch.arange(7.0) * (step + 1))
            optimizer.step()
        ours.load_state_dict(ours.state_dict())
    assert torch.equal(*weights) and not weights[0].equal(torch.linspace(-1, 1, 7))
    assert ours.state_dict()["state"].keys() == torchs.state_dict()["state"].keys()
    assert ours.state_dict()["param_groups"] == torchs.state_dict()["param_groups"]


def test_no_optimiser_imports_torchs_compiler() -> None:
    program = f"""
import sys, torch
from metamtl.trainer.optim import make_optimizer
for options in {[options(name) for name in OPTIMIZERS]!r}:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = make_optimizer(options, [weight])
    optimizer.zero_grad()
    weight.grad = torch.ones(3)
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    assert weight.max() < 1
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
