"""Chunks of short vectors as recorded lists of operators: the bits of the learner, or the learner itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metamtl.data.task import TaskBatch
from metamtl.engine import traces
from metamtl.engine.graphs import recording_key
from metamtl.engine.tasks import Engine
from metamtl.engine.traces import TRIALS
from metamtl.engine.update import Update
from tests.engine.made import DENSE, Method, anil, batch_of, engine_of, learner_of, maml, protonet
from tests.engine.test_processes import same

STEPS = {"inner_steps": 2, "test_steps": None, "adapt": "all"}
METHODS = {
    "maml": maml(),
    "first order": maml(order="first"),
    "anil": anil(),
    "protonet": protonet(),
}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first update is recorded, and a trace is always the faster."""
    ticks = count()
    monkeypatch.setattr(traces, "AFTER", 1)
    # of each pair of times the first, which is the learner's own, is the longer
    monkeypatch.setattr(traces, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks)) ** 0.5))


def engine_with(method: Method, dtype: torch.dtype = torch.float32, **options: Any) -> tuple[Engine, Engine]:
    """One that may record, and one that may not, of equal learners."""
    found = []
    for graphs in ("traces", "never"):
        engine = engine_of(learner_of(method, DENSE, "none", dtype=dtype), "vmap", **options)
        engine.plan = replace(engine.plan, graphs=graphs)
        found.append(engine)
    return found[0], found[1]


def batch_number(number: int) -> TaskBatch:
    return batch_of(DENSE.shape, seed=number, dtype=torch.float32)


def relied_on(engine: Engine) -> list[bool]:
    return [shape.reliable for shape in engine._traces._shapes.values()]


def descend(*engines: Engine) -> None:
    """Another update of all weights."""
    for engine in engines:
        with torch.no_grad():
            for weight in engine.learner.parameters():
                weight.mul_(0.9)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_trace_has_the_bits_of_the_learner_for_other_tasks_and_weights(name: str, workers: int) -> None:
    recording, plain = engine_with(METHODS[name], workers=workers)
    for number in range(TRIALS + 4):
        batch = batch_number(number)
        assert same(recording.meta_gradient([batch]), plain.meta_gradient([batch]))
        descend(recording, plain)
    assert relied_on(recording) == [True]


def test_the_learner_itself_is_run_no_more() -> None:
    recording, _ = engine_with(maml())
    for number in range(TRIALS + 1):
        recording.meta_gradient([batch_number(number)])
    recording.learner.forward = lambda task: pytest.fail("it was run")
    recording.meta_gradient([batch_number(9)])


def test_shapes_and_what_is_trained_have_traces_of_their_own() -> None:
    recording, plain = engine_with(maml())
    frozen = [next(engine.learner.parameters()) for engine in (recording, plain)]
    for number in range(TRIALS + 2):
        for batch in (batch_number(number), batch_of(DENSE.shape, tasks=2, seed=number, dtype=torch.float32)):
            for trained in (True, False):
                for weight in frozen:
                    weight.requires_grad_(trained)
                assert same(recording.meta_gradient([batch]), plain.meta_gradient([batch]))
    assert relied_on(recording) == [True] * 4


def test_images_are_not_recorded() -> None:
    engine = engine_of(learner_of(maml(), DENSE, "none", dtype=torch.float32), "vmap")
    engine.plan = replace(engine.plan, graphs="traces")
    batch = batch_number(0).map(lambda x: x.unsqueeze(-1) if x.is_floating_point() else x)
    engine.network.backbone.register_forward_pre_hook(lambda module, given: (given[0].flatten(1),))
    engine.meta_gradient([batch])
    assert not engine._traces._shapes


def test_what_changes_over_training_is_run_as_it_is() -> None:
    options = {**STEPS, "initial_lr": 0.3, "learned_rates": True, "per_step_norm": False}
    method = Method("mamlpp", {**options, "multi_step_share": 0.5, "first_order_share": 0.5, "order": "second"})
    recording, plain = engine_with(method)
    for number in range(TRIALS + 3):
        for engine in (recording, plain):
            engine.learner.progress = number / 8  # type: ignore[assignment]
        batch = batch_number(number)
        assert same(recording.meta_gradient([batch]), plain.meta_gradient([batch]))
    assert relied_on(recording) == [False]


def by_a_number(x: Tensor) -> Tensor:
    return x * float(np.tanh(x.detach().numpy()).mean())


def by_a_branch(x: Tensor) -> Tensor:
    return x * 2 if float(x.detach().sum()) > 0 else x * 3


@pytest.mark.parametrize("change", [by_a_number, by_a_branch])
def test_what_a_trace_would_get_wrong_is_run_as_it_is(change: Callable[[Tensor], Tensor]) -> None:
    recording, plain = engine_with(maml())
    for engine in (recording, plain):
        engine.network.backbone.register_forward_hook(lambda module, given, features: change(features))
    for number in range(TRIALS + 3):
        batch = batch_number(number).part(slice(0, 1))  # a task alone, whose numbers Python can see
        assert same(recording.meta_gradient([batch]), plain.meta_gradient([batch]))
    assert relied_on(recording) == [False]


def test_what_changes_later_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "AGAIN", 9)
    recording, plain = engine_with(maml())
    factor = [2.0]
    for engine in (recording, plain):
        engine.network.backbone.register_forward_hook(lambda module, given, features: features * factor[0])
    for number in range(TRIALS + 1):
        recording.meta_gradient([batch_number(number)])
    assert relied_on(recording) == [True]
    factor[0] = 3.0
    for number in range(9):
        recording.meta_gradient([batch_number(number)])
    assert relied_on(recording) == [False]
    assert same(recording.meta_gradient([batch_number(1)]), plain.meta_gradient([batch_number(1)]))


def test_updates_of_several_chunks_are_not_recorded() -> None:
    recording, _ = engine_with(maml(), examples=1, workers=2)
    for number in range(TRIALS + 2):
        recording.meta_gradient([batch_number(number)])
    assert not recording._traces._shapes


def test_whoever_is_beside_has_a_recording_of_its_own() -> None:
    learner, batch = learner_of(maml(), DENSE, "none"), batch_number(0)
    beside = [replace(batch, beside={name: batch.support}) for name in ("one", "other")]
    beside.append(replace(batch, beside={"one": replace(batch.support, ways=2)}))
    assert len({recording_key(learner, learner.network, each) for each in (batch, *beside)}) == 4


def test_a_slower_trace_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    monkeypatch.setattr(traces, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks)) ** 2))
    recording, _ = engine_with(maml())
    for number in range(TRIALS + 3):
        recording.meta_gradient([batch_number(number)])
    assert relied_on(recording) == [False]


def test_a_wrong_trace_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    original = traces._Trace.replay

    def wrong(self: Any, batch: TaskBatch) -> Update:
        return original(self, batch).map(lambda tensor: tensor * 1.0000001)

    monkeypatch.setattr(traces._Trace, "replay", wrong)
    recording, plain = engine_with(maml())
    for number in range(TRIALS + 3):
        batch = batch_number(number)
        assert same(recording.meta_gradient([batch]), plain.meta_gradient([batch]))
    assert relied_on(recording) == [False]
