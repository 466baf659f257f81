"""A plan fits the memory that is there: nothing changes where there is enough, and the gradient never."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import grad

from metamtl.engine import fitting
from metamtl.engine.fitting import fitted, free_bytes
from metamtl.engine.plan import Plan
from tests.engine.made import POOLED, assert_close, batch_of, engine_of, learner_of, maml, meta_gradient

CPU = torch.device("cpu")
TASKS, KEPT = 8, 10_000_000
PLAN = Plan("vmap", 10**6, 2, "auto")


def keeping(size: int) -> object:
    """A step that keeps `size` bytes for its backward pass."""
    x = torch.ones(size // 4, requires_grad=True)
    return (x * x).sum()


@pytest.mark.parametrize(
    ("free", "chunk", "workers", "memory"),
    [
        (KEPT * 5 * 100, 4, 2, "full"),
        (KEPT * 5 * 8, 4, 2, "full"),
        (KEPT * 5 * 4, 2, 2, "full"),
        (KEPT * 5 * 3, 1, 2, "full"),
        (KEPT * 5 * 1, 1, 1, "full"),
        (KEPT * 5 // 2, 1, 1, "flat"),
    ],
)
def test_chunks_shrink_then_workers_then_memory_is_flat(
    free: int, chunk: int, workers: int, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "free_bytes", lambda device: free)
    batch = batch_of(POOLED.shape, tasks=TASKS)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = fitted(PLAN, batch, lambda one: keeping(KEPT), CPU)
    assert (found.chunk(batch), found.workers, found.memory) == (chunk, workers, memory)
    assert bool(said) == (free < KEPT * 5 * 8)


@pytest.mark.parametrize("free", [None, 10**15])
def test_with_room_or_where_nothing_is_known_the_plan_stays(free: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "free_bytes", lambda device: free)
    learner, batch = learner_of(maml(), POOLED, "batch"), batch_of(POOLED.shape)
    engine = engine_of(learner, "vmap", memory="auto")
    meta_gradient(engine, batch)
    assert engine.plan == engine_of(learner, "vmap").plan


def test_an_update_without_a_task_decides_nothing() -> None:
    engine = engine_of(learner_of(maml(), POOLED, "batch"), "vmap", memory="auto")
    assert engine.meta_gradient([]).tasks == 0
    assert engine.plan.memory == "auto"


@pytest.mark.parametrize("free", [10**15, 10**7, 1])
def test_the_gradient_is_that_of_the_usual_plan(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "free_bytes", lambda device: free)
    learner, batch = learner_of(maml(), POOLED, "batch"), batch_of(POOLED.shape)
    engine = engine_of(learner, "vmap", memory="auto")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = meta_gradient(engine, batch)
    assert engine.plan.memory == ("flat" if free == 1 else "full")
    assert_close(found, meta_gradient(engine_of(learner, "vmap"), batch))


def test_what_is_counted_grows_with_the_inner_steps() -> None:
    batch = batch_of(POOLED.shape, tasks=1)

    def kept(steps: int) -> int:
        engine = engine_of(learner_of(maml(inner_steps=steps), POOLED, "batch"), "loop")
        found = fitting._kept(lambda: meta_gradient(engine, batch), 1e15)
        assert found is not None
        return found

    assert kept(1) < kept(3) < kept(9)


def test_a_learner_with_transforms_of_its_own_is_left_as_it_is() -> None:
    def step(batch: object) -> Tensor:
        slope: Tensor = grad(lambda x: (x**3).sum())(torch.ones(3))
        return slope

    batch = batch_of(POOLED.shape, tasks=TASKS)
    assert fitted(PLAN, batch, step, CPU) == Plan("vmap", 10**6, 2, "full")


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_CGROUP", tmp_path)
    machine = free_bytes(CPU)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("600\n")
    assert machine is None or free_bytes(CPU) != 400
    (tmp_path / "memory.max").write_text("1000\n")
    assert free_bytes(CPU) == 400
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert free_bytes(CPU) == 200
