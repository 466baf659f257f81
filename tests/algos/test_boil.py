"""BOIL is MAML on the body: its head is learned, and no task changes it."""

from __future__ import annotations

from typing import Any

import torch

from metamtl.algos.boil import BOIL
from tests.algos.suite import TINY, Blobs, engine_of, make


def test_it_is_maml_on_the_body_and_not_on_all() -> None:
    batch = Blobs(TINY["conv4"]).tasks(2)
    options: dict[str, Any] = {"inner_lr": 0.3, "inner_steps": 2}
    boil = make("boil", "conv4", "batch", **options)
    assert isinstance(boil, BOIL)
    body, whole = (make("maml", "conv4", "batch", adapt=layers, **options) for layers in ("body", "all"))
    found, wanted, other = (engine_of(learner).meta_gradient([batch]).gradient for learner in (boil, body, whole))
    for name, g in wanted.items():
        torch.testing.assert_close(found[name], g, rtol=1e-9, atol=1e-12)
    assert any(not torch.allclose(other[name], g, rtol=1e-3) for name, g in wanted.items())
    assert float(found["network.head.weight"].abs().max()) > 0
    fast = boil.adapt(batch.task(0).support).weights
    assert not any(name.startswith("head.") for name in fast)
