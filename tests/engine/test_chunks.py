"""How many tasks run at once follows the size of their inputs."""

from __future__ import annotations

import pytest
import torch

from metamtl.data.task import TaskBatch
from metamtl.engine.tasks import EXAMPLES_A_CHUNK, Engine, How
from tests.engine.made import QUERIES, SHOTS, STRIDED, WAYS, Backbone, batch_of, engine_of, learner_of, protonet

EXAMPLES = WAYS * (SHOTS + QUERIES)
FITTING = EXAMPLES_A_CHUNK // EXAMPLES  # tasks of 28x28 images


@pytest.mark.parametrize(
    ("shape", "how", "largest"),
    [
        ((1, 28, 28), "vmap", FITTING),
        ((1, 8, 8), "vmap", FITTING),
        ((1, 56, 28), "vmap", FITTING // 2),
        ((3, 84, 84), "vmap", 1),
        ((1, 28, 28), "loop", 1),
    ],
)
def test_larger_inputs_take_smaller_chunks(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], how: How, largest: int
) -> None:
    sizes = []
    run = Engine._run

    def noted(self: Engine, batch: TaskBatch, weights: object, noise: object) -> object:
        sizes.append(len(batch))
        return run(self, batch, weights, noise)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "_run", noted)
    backbone = Backbone("small", "conv4", shape, {**STRIDED.options, "width": 1})
    engine = engine_of(learner_of(protonet(), backbone, "none", dtype=torch.float32), how)
    engine.evaluate([batch_of(shape, tasks=FITTING + 2, dtype=torch.float32)])
    assert max(sizes) == largest
    assert sum(sizes) == FITTING + 2
