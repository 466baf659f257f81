"""Flat memory: what a chunk keeps for its backward pass grows with the inner steps by the fast weights alone."""

from __future__ import annotations

from typing import Any

import pytest

from metamtl.engine import convolution
from metamtl.engine.chunks import run_chunk
from metamtl.engine.plan import How
from tests.engine.made import POOLED, TASKS, batch_of, engine_of, learner_of, maml
from tests.engine.test_first_order import graph_of


def kept(how: How, steps: int, flat: bool) -> tuple[int, int]:
    """Bytes that the graph of a chunk keeps, and bytes of its fast weights."""
    tasks = 1 if how == "loop" else TASKS
    learner, batch = learner_of(maml(inner_steps=steps), POOLED, "batch"), batch_of(POOLED.shape, tasks=tasks)
    weights = dict(learner.named_parameters())
    outcome, _ = run_chunk(learner, learner.network, batch, None, list(weights.values()) if flat else None)
    tensors = {"x": batch.support.x, "y": batch.support.y, "query x": batch.query.x, "query y": batch.query.y}
    graph = graph_of(outcome.loss.sum(), {**weights, **tensors})  # type: ignore[dict-item]
    return graph.bytes, tasks * sum(weight.nbytes for weight in weights.values())


@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_memory_grows_by_the_fast_weights_alone(how: How) -> None:
    (one, fast), (ten, _) = kept(how, 1, flat=True), kept(how, 10, flat=True)
    assert one < ten <= one + 9 * fast
    (one, fast), (ten, _) = kept(how, 1, flat=False), kept(how, 10, flat=False)
    assert ten > one + 18 * fast  # the measure can tell


@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_a_step_is_made_again_of_the_same_convolutions(how: How, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    own = convolution.convolve

    def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return own(*arguments)

    monkeypatch.setattr(convolution, "convolve", counted)
    learner, batch = learner_of(maml(inner_steps=2), POOLED, "batch"), batch_of(POOLED.shape, tasks=1)
    layers = len(learner.network._norms)
    engine_of(learner, how, memory="flat").meta_gradient([batch])
    assert calls >= (2 + 1 + 2) * layers  # two steps, the queries, and both steps again
    flat, calls = calls, 0
    engine_of(learner, how).meta_gradient([batch])
    assert flat >= calls + 2 * layers
