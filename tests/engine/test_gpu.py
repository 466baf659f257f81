"""On a GPU every way of running the tasks gives the meta-gradient that the processor gives, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from metamtl.engine import convolution
from metamtl.engine.graphs import Graphs, _Changing
from metamtl.engine.plan import How, Memory, usual_plan
from metamtl.errors import UsageError
from tests.engine.made import (
    DENSE,
    METHODS,
    NORMS,
    POOLED,
    RESIDUAL,
    STRIDED,
    Method,
    assert_close,
    batch_of,
    engine_of,
    learner_of,
    maml,
    meta_gradient,
)

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
GPU = torch.device("cuda")


WAYS_TO_RUN: tuple[tuple[How, Memory], ...] = (("loop", "full"), ("vmap", "full"), ("vmap", "flat"), ("graph", "full"))
CASES = (
    *((method, POOLED, "batch") for method in METHODS),
    *((maml(), backbone, norm) for backbone in (STRIDED, DENSE, RESIDUAL) for norm in NORMS),
)


@on_a_gpu
@pytest.mark.parametrize(("how", "memory"), WAYS_TO_RUN)
def test_it_agrees_with_the_processor(how: How, memory: Memory) -> None:
    for method, backbone, norm in CASES:
        learner, batch = learner_of(method, backbone, norm), batch_of(backbone.shape)
        wanted = meta_gradient(engine_of(learner, "loop"), batch)
        engine = engine_of(learner.to(GPU), how, memory=memory)
        there = batch.map(lambda tensor: tensor.to(GPU))
        for _ in range(2):  # a recording, and its replay
            found = meta_gradient(engine, there)
            assert_close({name: g.cpu() for name, g in found.items()}, wanted)


@on_a_gpu
@pytest.mark.parametrize("numbers", (0, 10**12))
def test_large_and_small_convolutions_agree_with_the_processor(monkeypatch: pytest.MonkeyPatch, numbers: int) -> None:
    monkeypatch.setattr(convolution, "PATCHES_ON_A_GPU", numbers)
    for backbone in (POOLED, STRIDED, RESIDUAL):
        learner, batch = learner_of(maml(), backbone, "batch"), batch_of(backbone.shape)
        wanted = meta_gradient(engine_of(learner, "loop"), batch)
        engine = engine_of(learner.to(GPU), "vmap")
        found = meta_gradient(engine, batch.map(lambda tensor: tensor.to(GPU)))
        assert_close({name: g.cpu() for name, g in found.items()}, wanted)


@on_a_gpu
def test_a_recording_reads_new_tasks_and_weights() -> None:
    learner = learner_of(maml(), STRIDED, "batch").to(GPU)
    recorded, live = engine_of(learner, "graph"), engine_of(learner, "vmap")
    for seed in range(3):
        batch = batch_of(STRIDED.shape, seed=seed).map(lambda tensor: tensor.to(GPU))
        assert_close(meta_gradient(recorded, batch), meta_gradient(live, batch))
        with torch.no_grad():
            for weight in learner.parameters():
                weight.mul_(0.9)


@on_a_gpu
def test_what_changes_over_training_is_not_recorded() -> None:
    steps = {
        "inner_steps": 2,
        "test_steps": None,
        "adapt": "all",
        "initial_lr": 0.3,
        "learned_rates": True,
        "per_step_norm": False,
    }
    method = Method("mamlpp", {**steps, "multi_step_share": 0.5, "first_order_share": 0.5, "order": "second"})
    learner = learner_of(method, STRIDED, "batch").to(GPU)
    with pytest.raises(UsageError, match="engine=vmap"):
        meta_gradient(engine_of(learner, "graph"), batch_of(STRIDED.shape).map(lambda tensor: tensor.to(GPU)))


def test_graphs_need_a_gpu() -> None:
    with pytest.raises(UsageError, match="need an NVIDIA GPU"):
        usual_plan("graph", 1, "full", torch.device("cpu"))


def test_graphs_take_one_worker() -> None:
    with pytest.raises(UsageError, match=r"trainer\.workers=1"):
        usual_plan("graph", 2, "full", GPU)


def test_casts_of_the_weights_are_not_recorded() -> None:
    learner, batch = learner_of(maml(), STRIDED, "batch"), batch_of(STRIDED.shape)
    torch.set_autocast_enabled("cuda", True)
    try:
        with pytest.raises(UsageError, match="engine=loop"):
            Graphs().run(lambda *_: pytest.fail("it was run"), learner, learner.network, batch, always=True)
    finally:
        torch.set_autocast_enabled("cuda", False)


@pytest.mark.parametrize(
    "read",
    [
        bool,
        int,
        float,
        round,
        format,
        abs,
        lambda share: -share,
        lambda share: share == 0,
        lambda share: share != 1,
        lambda share: share < 0.5,
        lambda share: min(share, 0.5),
        lambda share: 1 - share,
        lambda share: share**2,
        lambda share: 0.5**share,
        lambda share: share // 0.1,
        lambda share: share % 0.1,
        lambda share: torch.ones(2) * share,
    ],
)
def test_whoever_reads_the_share_of_updates_is_not_recorded(read: Callable[[Any], Any]) -> None:
    with pytest.raises(UsageError, match="engine=vmap"):
        read(_Changing())
