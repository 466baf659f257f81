"""Compiled kernels in the engine: the same meta-gradients, and a choice that is recorded and kept."""

from __future__ import annotations

from dataclasses import asdict, replace
from statistics import median
from typing import Any

import pytest
import torch

from metamtl.backbones import fused
from metamtl.backbones.tail import Tail
from metamtl.engine.plan import How, Memory, Plan, fuses, resumed_plan
from metamtl.errors import UsageError
from tests.engine.made import (
    DENSE,
    HOWS,
    MEMORIES,
    POOLED,
    RESIDUAL,
    STRIDED,
    TASKS,
    Backbone,
    Method,
    assert_close,
    batch_of,
    engine_of,
    fomaml,
    learner_of,
    maml,
    meta_gradient,
    overall_error,
    protonet,
)
from tests.engine.plain import Plain

CPU = torch.device("cpu")
FOLLOWED = {POOLED.name: Tail(pool=2, low=0.0), STRIDED.name: Tail(low=0.0), RESIDUAL.name: Tail(low=0.1)}
needs_numba = pytest.mark.skipif(not fused.available(), reason="numba is not installed")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Tail]:
    """What followed the normalisation, at every call of a kernel."""
    found: list[Tail] = []
    for name in ("normalise", "normalise_gradient", "normalise_second"):
        own = getattr(fused, name)

        def counted(*given: Any, _own: Any = own, **named: Any) -> Any:
            found.append(named["tail"])
            return _own(*given, **named)

        monkeypatch.setattr(fused, name, counted)
    return found


@needs_numba
@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    ("method", "backbone", "norm"),
    [
        (maml(), POOLED, "batch"),
        (maml(), STRIDED, "batch_support"),
        (maml(), RESIDUAL, "running"),
        (fomaml(), STRIDED, "batch"),
        (protonet(), POOLED, "running"),
    ],
    ids=lambda part: getattr(part, "name", part),
)
def test_kernels_and_a_plain_loop_agree(
    method: Method, backbone: Backbone, norm: str, how: How, workers: int, memory: Memory, calls: list[Tail]
) -> None:
    learner, batch = learner_of(method, backbone, norm), batch_of(backbone.shape, tasks=5)
    weights = dict(learner.network.named_parameters())
    wanted = Plain(method, backbone, norm).meta_gradient(weights, batch)
    engine = engine_of(learner, how, workers=workers, memory=memory, fused=True)
    found = meta_gradient(engine, batch)
    assert FOLLOWED[backbone.name] in calls
    assert_close(found, {f"network.{name}": g for name, g in wanted.items()})
    figures, others = engine.evaluate([batch]), engine_of(learner, "loop").evaluate([batch])
    torch.testing.assert_close(figures["loss"], others["loss"], rtol=1e-12, atol=1e-14)


@needs_numba
def test_float32_is_as_near_to_float64() -> None:
    """As `test_exactness` has it: the median over seeds, since one ReLU switch outweighs all rounding."""
    errors: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(5):
        batch = batch_of(STRIDED.shape, seed=seed)
        wanted = meta_gradient(engine_of(learner_of(maml(), STRIDED, "batch", seed), "loop"), batch)
        learner = learner_of(maml(), STRIDED, "batch", seed, torch.float32)
        for on, found in errors.items():
            gradient = meta_gradient(engine_of(learner, "vmap", fused=on), batch.to(CPU, torch.float32))
            found.append(overall_error(gradient, wanted))
    assert median(errors[True]) <= TASKS**0.5 * median(errors[False])


@needs_numba
@pytest.mark.parametrize(("workers", "tasks", "by_kernels"), [(1, 1, True), (2, 1, False), (2, 2, True)])
def test_a_lone_chunk_that_has_several_threads_is_left_to_torch(
    workers: int, tasks: int, by_kernels: bool, calls: list[Tail]
) -> None:
    engine = engine_of(learner_of(maml(), POOLED, "batch"), "vmap", workers=workers, fused=True)
    batch = batch_of(POOLED.shape, tasks=tasks)
    meta_gradient(engine, batch)
    engine.evaluate([batch])
    assert bool(calls) == by_kernels


@needs_numba
def test_an_update_has_the_same_bits_every_time() -> None:
    learner, batch = learner_of(maml(), POOLED, "batch"), batch_of(POOLED.shape, tasks=5)
    engine = engine_of(learner, "vmap", workers=2, fused=True)
    first, second = meta_gradient(engine, batch), meta_gradient(engine, batch)
    assert all(torch.equal(g, second[name]) for name, g in first.items())


def test_the_default_follows_numba_where_there_are_maps_to_normalise(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = learner_of(maml(), POOLED, "batch")
    for there in (True, False):
        monkeypatch.setattr(fused, "available", lambda there=there: there)
        assert fuses(None, learner, CPU) == there
        assert not fuses(False, learner, CPU)

    def imported() -> bool:
        raise AssertionError("numba is asked for")

    monkeypatch.setattr(fused, "available", imported)
    for backbone, norm in ((DENSE, "batch"), (POOLED, "group"), (STRIDED, "none")):
        assert not fuses(None, learner_of(maml(), backbone, norm), CPU)
    assert not fuses(None, learner, torch.device("cuda"))


def test_kernels_that_cannot_be_had_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "available", lambda: False)
    with pytest.raises(UsageError, match=r"metamtl\[fast\]"):
        fuses(True, learner_of(maml(), POOLED, "batch"), CPU)
    usual = Plan("vmap", 640, 1, "full")
    with pytest.raises(UsageError, match=r"metamtl\[fast\]"):
        resumed_plan(replace(usual, fused=True), usual, CPU)
    on_a_gpu = resumed_plan(replace(usual, fused=True), usual, torch.device("cuda"))
    assert not on_a_gpu.fused  # where there is no need of them


def test_a_checkpoint_keeps_its_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "available", lambda: True)
    usual = Plan("vmap", 640, 1, "full")
    with_kernels = replace(usual, fused=True)
    assert resumed_plan(with_kernels, usual, CPU).fused
    assert not resumed_plan(usual, with_kernels, CPU).fused
    assert with_kernels.record()["fused"]
    before = {key: value for key, value in asdict(usual).items() if key != "fused"}
    assert not Plan(**before).fused  # checkpoints from before there were any
