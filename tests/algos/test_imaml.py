"""The implicit gradient against the gradient through the inner steps, once these have converged."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from metamtl.algos.imaml import ImplicitMAML
from metamtl.algos.maml import MAML
from metamtl.config.compose import compose
from metamtl.engine.implicit import conjugate_gradients
from metamtl.engine.inner import Weights, gradient
from metamtl.engine.world import World
from metamtl.families import build_families
from metamtl.opening import open_sources
from metamtl.trainer.streams import EpisodeStream
from tests.algos.suite import Blobs, engine_of, make

CONVERGED: dict[str, Any] = {"inner_lr": 0.05, "inner_steps": 80, "proximity": 5.0}


def implicit(**changes: Any) -> ImplicitMAML:
    learner = make("imaml", hidden=[], **changes)
    assert isinstance(learner, ImplicitMAML)
    return learner


def unrolled(learner: ImplicitMAML, how_far: float) -> Weights:
    """The gradient of the query loss through all inner steps, summed over the tasks."""
    weights = learner.weights()
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for number in range(2):
        task = Blobs((12,)).tasks(2, shots=2).task(number)
        loss, fast = learner.support_loss(task.support), dict(weights)
        for _ in range(int(how_far * learner.inner_steps)):
            slopes = gradient(loss, fast, "second")
            fast = {name: weight - learner.inner_lr * slopes[name] for name, weight in fast.items()}
        slopes = dict(
            zip(weights, torch.autograd.grad(learner.query_loss(fast, task), [*weights.values()]), strict=True)
        )
        total = {name: total[name] + slopes[name] for name in total}
    return total


def distance(found: Weights, wanted: Weights) -> float:
    apart = sum(float((found[f"network.{name}"] - g).square().sum()) for name, g in wanted.items())
    return float((apart / sum(float(g.square().sum()) for g in wanted.values())) ** 0.5)


def test_at_convergence_it_is_the_unrolled_gradient() -> None:
    """To 1e-6 with enough conjugate gradients; far from it without them, which is the mechanism removed."""
    learner = implicit(**CONVERGED, cg_steps=30)
    batch = Blobs((12,)).tasks(2, shots=2)
    wanted = unrolled(learner, 1.0)
    assert distance(engine_of(learner).meta_gradient([batch]).gradient, wanted) < 1e-6
    first_order = implicit(**CONVERGED, cg_steps=1)
    assert distance(engine_of(first_order).meta_gradient([batch]).gradient, wanted) > 1e-2
    assert distance(engine_of(learner).meta_gradient([batch]).gradient, unrolled(learner, 0.025)) > 1e-2


def test_pooled_maps_with_their_channels_last_are_those_of_a_loop_under_vmap() -> None:
    """Networks are laid out so in a run, where torch's own second derivative of max-pooling has no rule of vmap."""
    words = ["algo=imaml", "data=glyphs", "backbone.width=8", "backbone.blocks=2", "trainer.precision=float64"]
    words += ["task.ways=2", "task.queries=2", "trainer.task.queries=2", "algo.inner_steps=2", "trainer.workers=1"]
    found = []
    for how in ("vmap", "loop"):
        config = compose([*words, f"engine={how}"])
        (parts,) = build_families(config, open_sources(config)).each.values()
        batches = EpisodeStream(parts, parts.learner.stages[0], World(0, 1)).batches(0)
        found.append(parts.engine.meta_gradient(batches).gradient)
    for name, slope in found[0].items():
        torch.testing.assert_close(slope, found[1][name], rtol=1e-9, atol=1e-12)


def test_damping_shrinks_the_gradient() -> None:
    batch = Blobs((12,)).tasks(2)
    plain, damped = (
        engine_of(implicit(cg_steps=30, cg_damping=damping)).meta_gradient([batch]).gradient for damping in (0.0, 9.0)
    )
    assert sum(float(g.norm()) for g in damped.values()) < 0.5 * sum(float(g.norm()) for g in plain.values())


def test_closeness_holds_the_weights_back() -> None:
    task = Blobs((12,)).tasks(1).single()

    def moved(proximity: float) -> float:
        learner = implicit(proximity=proximity)
        start, fast = learner.weights(), learner.adapt(task.support).weights
        return sum(float((fast[name] - start[name]).detach().square().sum()) for name in start)

    assert moved(5.0) < 0.5 * moved(0.01)


def test_without_the_term_it_is_first_order_maml() -> None:
    """One step of conjugate gradients on a system that is all damping gives the first-order direction."""
    batch = Blobs((12,)).tasks(2)
    options: dict[str, Any] = {"inner_lr": 0.1, "inner_steps": 3}
    found = engine_of(implicit(**options, proximity=1e-12, cg_steps=1, cg_damping=1e30)).meta_gradient([batch])
    fomaml = make("fomaml", hidden=[], **options)
    assert isinstance(fomaml, MAML)
    wanted = engine_of(fomaml).meta_gradient([batch]).gradient
    for name, g in wanted.items():
        torch.testing.assert_close(found.gradient[name] * 1e30, g, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("steps", [4, 9])
def test_conjugate_gradients_solve_a_system(steps: int) -> None:
    """Exact after as many steps as there are unknowns, and still after more."""
    generator = torch.Generator().manual_seed(0)
    root: Tensor = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    matrix = root @ root.T + torch.eye(4, dtype=torch.float64)
    right = {"a": torch.randn(3, generator=generator, dtype=torch.float64), "b": torch.ones(1, dtype=torch.float64)}

    def product(v: Weights) -> Weights:
        image = matrix @ torch.cat([v["a"], v["b"]])
        return {"a": image[:3], "b": image[3:]}

    found = conjugate_gradients(product, right, steps)
    wanted = torch.linalg.solve(matrix, torch.cat([right["a"], right["b"]]))
    torch.testing.assert_close(torch.cat([found["a"], found["b"]]), wanted, rtol=1e-9, atol=1e-9)
