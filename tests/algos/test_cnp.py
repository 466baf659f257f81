"""Conditional neural processes: the aggregation, the likelihood, lines learnt from points, and what context is for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metamtl.algos.cnp import CNP
from metamtl.data.family import Regression
from metamtl.data.task import Examples, TaskBatch
from tests.algos.suite import WAYS, Blobs, engine_of, make, outputs_of

LINES = Regression("lines", 1)


def cnp(**changes: object) -> CNP:
    learner = make("cnp", **changes)  # type: ignore[arg-type]
    assert isinstance(learner, CNP)
    return learner


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lines(count: int, seed: int = 0, shots: int = 10) -> TaskBatch:
    """Lines of random slope and height, their x repeated to the width of the tiny networks' input."""
    made = torch.Generator().manual_seed(seed)
    slope, height = (torch.randn(count, 1, 1, generator=made, dtype=torch.float64) for _ in range(2))
    x = torch.rand(count, shots + 20, 1, generator=made, dtype=torch.float64) * 2 - 1
    y, wide = slope * x + height, x.expand(-1, -1, 12)
    sets = [Examples(wide[:, part], y[:, part]) for part in (slice(0, shots), slice(shots, None))]
    return TaskBatch(sets[0], sets[1], torch.arange(count))


def test_a_points_own_embedding_enters_the_mean() -> None:
    learner = cnp(family=LINES)
    features, y = drawn(4, 32), drawn(4, 1)
    each = torch.stack([learner.fit(features[i : i + 1], y[i : i + 1], 0) for i in range(4)])
    torch.testing.assert_close(learner.fit(features, y, 0), each.mean(0))


def test_the_loss_is_the_gaussians_likelihood_of_all_points() -> None:
    """Equation 4 asks for the context's targets as well as for the queries'."""
    learner, task = cnp(family=LINES), lines(1).single()
    loss, mean = learner.outer_loss(task)
    assert isinstance(task.support.x, Tensor) and isinstance(task.query.x, Tensor)
    features = learner.network.query(torch.cat([task.support.x, task.query.x]), head=False)
    found = learner.gaussian(learner.adapt(task.support).rule, features)
    assert (found.stddev > 0.1).all()
    z = (torch.cat([task.support.labels, task.query.labels]) - found.mean) / found.stddev
    wanted = (0.5 * z.square() + found.stddev.log() + 0.5 * math.log(2 * math.pi)).mean()
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(mean, learner.predict(learner.adapt(task.support), task.query.x))


def trained(learner: CNP, steps: int) -> CNP:
    engine = engine_of(learner.train())
    weights = {name: weight for name, weight in learner.named_parameters() if weight.requires_grad}
    optimizer = torch.optim.Adam(weights.values(), lr=3e-3)
    for step in range(steps):
        found = engine.meta_gradient([lines(8, seed=step)])
        for name, weight in weights.items():
            weight.grad = found.gradient[name] / found.tasks
        optimizer.step()
    return learner


def error(learner: CNP) -> float:
    return float(engine_of(learner.eval()).evaluate([lines(40, seed=10**6)])["mse"].mean())


def test_it_learns_lines_from_their_points_and_not_without() -> None:
    """A network that is told nothing of the context is left with the spread of the lines."""
    learner = trained(cnp(family=LINES, context=16), steps=100)
    blind = cnp(family=LINES, context=16)
    with torch.no_grad():  # what the decoder would be told is blank, and stays so
        for weight in blind.encoder[-1].parameters():
            weight.zero_()
    blind.encoder.requires_grad_(False)
    told, untold = error(learner), error(trained(blind, steps=100))
    assert told < 0.5 * untold


def test_lines_run_alike_alone_and_vectorised() -> None:
    learner, batches = cnp(family=LINES), [lines(3), lines(2, shots=4)]
    found, wanted = (engine_of(learner, how).meta_gradient(batches) for how in ("vmap", "loop"))
    torch.testing.assert_close(found.figures["mse"], wanted.figures["mse"], rtol=1e-9, atol=1e-12)
    for name, g in wanted.gradient.items():
        torch.testing.assert_close(found.gradient[name], g, rtol=1e-9, atol=1e-12)


def test_a_class_is_scored_by_its_own_mean_and_that_of_all() -> None:
    """Moving one class's support changes every class's score, and that class's most by its own part."""
    learner, task = cnp(), Blobs((12,)).tasks(1).single()
    x, support = task.query.x, task.support
    assert isinstance(x, Tensor) and isinstance(support.x, Tensor)
    moved = torch.where((support.labels == 2).unsqueeze(1), support.x + 1.0, support.x)
    change = (outputs_of(learner, Examples(moved, support.labels, WAYS), x) - outputs_of(learner, support, x)).abs()
    assert (change.mean(0) > 0).all() and change.mean(0).argmax() == 2


def test_it_has_no_head_of_fixed_ways() -> None:
    """Tasks of more ways than it was made for have outputs for all."""
    support = Examples(drawn(9, 12), torch.arange(9), 9)
    assert outputs_of(cnp(), support, drawn(4, 12, seed=1)).shape == (4, 9)
