"""CAVIA: a context conditions one layer, starts from zero and is all that a task changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.cavia import CAVIA
from metamtl.data.family import Regression
from metamtl.errors import UsageError
from tests.algos.suite import TINY, Blobs, engine_of, make
from tests.algos.test_maml import waves


def cavia(backbone: str = "mlp", **changes: Any) -> CAVIA:
    learner = make("cavia", backbone, "batch" if backbone == "conv4" else "none", **changes)
    assert isinstance(learner, CAVIA)
    return learner


@pytest.mark.parametrize("backbone", ["mlp", "conv4"])
def test_the_context_alone_adapts_and_is_no_weight(backbone: str) -> None:
    learner, task = cavia(backbone), Blobs(TINY[backbone]).tasks(1).single()
    (context,) = learner.adapt(task.support).weights.values()
    assert context.shape == (100,) and float(context.detach().abs().max()) > 0
    assert not any("context" in name for name in learner.state_dict())
    assert float(next(iter(learner.initial_weights(task.support).values())).abs().max()) == 0  # and again from zero


def test_shifting_is_concatenating_the_context_to_the_layers_input() -> None:
    """Section 3.3: a linear layer of [x, phi] is one of x plus one of phi."""
    learner = cavia(conditioning="shift", layer=0, context=3)
    weights, generator = dict(learner.network.named_parameters()), torch.Generator().manual_seed(0)
    x, phi = (torch.randn(*size, generator=generator, dtype=torch.float64) for size in ((4, 12), (3,)))
    linear = torch.cat([weights["backbone.layers.0.0.weight"], weights["backbone.layers.0.1.shift.weight"]], 1)
    hidden = F.linear(torch.cat([x, phi.expand(4, -1)], 1), linear, weights["backbone.layers.0.0.bias"])
    found = learner.network.support(x, {"backbone.layers.0.1.context": phi}, head=False)
    torch.testing.assert_close(found, hidden.relu())
    assert "backbone.layers.0.1.scale.weight" not in weights


def test_film_scales_and_shifts_after_the_norm() -> None:
    """Before it, batch statistics would take out what a context does to all examples."""
    learner = cavia("conv4", layer=1, context=2)
    weights = dict(learner.network.named_parameters())
    x = Blobs(TINY["conv4"]).tasks(1).single().query.x
    assert isinstance(x, Tensor)
    phi = torch.tensor([0.5, -1.0], dtype=torch.float64)
    maps = learner.network.backbone.blocks[0](x)  # type: ignore[index, operator]
    normal = learner.network.backbone.blocks[1][1].norm(learner.network.backbone.blocks[1][0](maps))  # type: ignore[index, operator]
    of = "backbone.blocks.1.1"
    scale, shift = (weights[f"{of}.{part}.weight"] @ phi + weights[f"{of}.{part}.bias"] for part in ("scale", "shift"))
    wanted = F.max_pool2d(normal * scale.view(-1, 1, 1) + shift.view(-1, 1, 1), 2).relu().flatten(1)
    found = learner.network.support(x, {"backbone.blocks.1.1.context": phi}, head=False)
    torch.testing.assert_close(found, wanted)


def test_it_learns_sine_waves_by_its_context() -> None:
    """200 updates bring the error on new waves below 1.5; with the context left at zero it stays above 2.5."""
    generator = torch.Generator().manual_seed(0)
    options: dict[str, Any] = {"context": 5, "conditioning": "shift", "layer": 0, "inner_lr": 0.1, "inner_steps": 1}
    learner = make("cavia", hidden=[40, 40], family=Regression("waves", 1), **options)
    engine, optimizer = engine_of(learner), torch.optim.Adam(learner.parameters(), lr=5e-3)
    for _ in range(200):
        update = engine.meta_gradient([waves(10, generator)])
        for name, weight in learner.named_parameters():
            weight.grad = update.gradient[name] / update.tasks
        optimizer.step()
    held_out = waves(100, generator)
    error = float(engine_of(learner.eval()).evaluate([held_out])["mse"].mean())
    learner.test_steps = 0  # type: ignore[assignment]
    assert error < 1.5 < 2.5 < float(engine_of(learner).evaluate([held_out])["mse"].mean())


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"layer=5: .* 1 layers"):
        cavia(layer=5)
