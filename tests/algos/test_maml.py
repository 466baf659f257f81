"""MAML against closed forms, and on the paper's regression problem in small."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.descent import Layers
from metamtl.algos.maml import MAML
from metamtl.data.family import Regression
from metamtl.data.task import Examples, Task, TaskBatch
from tests.algos.suite import engine_of, make

RATE = 0.3


class Quadratic(Regression):
    """Half the squared distance of outputs and targets, averaged over examples."""

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        return (outputs - examples.labels).square().sum(1).mean() / 2


def linear_task(seed: int) -> Task:
    """Regression of two targets on twelve inputs."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(count: int) -> Examples:
        x, y = (torch.randn(count, size, generator=generator, dtype=torch.float64) for size in (12, 2))
        return Examples(x, y)

    return Task(drawn(9), drawn(7), torch.tensor(seed))


def batched(*tasks: Task) -> TaskBatch:
    def stacked(sets: list[Examples]) -> Examples:
        xs = [one.x for one in sets if isinstance(one.x, Tensor)]
        return Examples(torch.stack(xs), torch.stack([one.labels for one in sets]))

    numbers = torch.stack([task.number for task in tasks])
    return TaskBatch(stacked([task.support for task in tasks]), stacked([task.query for task in tasks]), numbers)


def moments(examples: Examples) -> tuple[Tensor, Tensor]:
    """A = X'X / n and B = X'Y / n, X with a column of ones: the loss of W [13, 2] has the gradient A W - B."""
    assert isinstance(examples.x, Tensor)
    x = torch.cat([examples.x, torch.ones(len(examples.x), 1, dtype=torch.float64)], 1)
    return x.T @ x / len(x), x.T @ examples.labels / len(x)


def linear_maml(name: str, steps: int) -> MAML:
    options = {"inner_lr": RATE, "inner_steps": steps}
    learner = make(name, hidden=[], family=Quadratic("quadratic", 2), **options)  # type: ignore[arg-type]
    assert isinstance(learner, MAML)
    return learner


def head_of(learner: MAML) -> Tensor:
    """W [13, 2]: weights, then biases."""
    weights = dict(learner.network.named_parameters())
    return torch.cat([weights["head.weight"].T, weights["head.bias"].unsqueeze(0)]).detach()


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("name", ["maml", "fomaml"])
def test_on_a_quadratic_it_is_the_closed_form(name: str, steps: int) -> None:
    """With dL/dW = A W - B: the meta-gradient is (I - alpha A)^k (A_q W' - B_q), without the power in FOMAML."""
    learner, task = linear_maml(name, steps), linear_task(1)
    (a, b), (query_a, query_b) = moments(task.support), moments(task.query)
    fast, power = head_of(learner), torch.eye(13, dtype=torch.float64)
    for _ in range(steps):
        fast = fast - RATE * (a @ fast - b)
        power = power @ (torch.eye(13, dtype=torch.float64) - RATE * a)
    adapted = learner.adapt(task.support).weights
    torch.testing.assert_close(adapted["head.weight"], fast[:-1].T)
    torch.testing.assert_close(adapted["head.bias"], fast[-1])
    slope = query_a @ fast - query_b
    wanted = power @ slope if name == "maml" else slope
    gradient = engine_of(learner).meta_gradient([batched(task)]).gradient
    torch.testing.assert_close(gradient["network.head.weight"], wanted[:-1].T)
    torch.testing.assert_close(gradient["network.head.bias"], wanted[-1])


def test_the_meta_gradient_is_a_sum_over_tasks() -> None:
    learner, tasks = linear_maml("maml", 2), [linear_task(seed) for seed in range(3)]
    apart = [engine_of(learner).meta_gradient([batched(task)]).gradient for task in tasks]
    together = engine_of(learner).meta_gradient([batched(*tasks)])
    assert together.tasks == 3
    for name, g in together.gradient.items():
        torch.testing.assert_close(g, apart[0][name] + apart[1][name] + apart[2][name])


@pytest.mark.parametrize("adapt", ["all", "head", "body"])
def test_only_the_layers_that_adapt_change(adapt: Layers) -> None:
    learner = make("maml", family=Quadratic("quadratic", 2), adapt=adapt)
    assert isinstance(learner, MAML)
    task = linear_task(1)
    start, fast = learner.initial_weights(task.support), learner.adapt(task.support).weights
    every = {name for name, _ in learner.network.named_parameters()}
    heads = {"head.weight", "head.bias"}
    assert set(fast) == {"all": every, "head": heads, "body": every - heads}[adapt]
    assert all(not torch.equal(fast[name], start[name]) for name in fast)


def test_fomaml_is_maml_of_first_order() -> None:
    batch = batched(linear_task(1), linear_task(2))
    family = Quadratic("quadratic", 2)
    maml, fomaml = make("maml", family=family, order="first"), make("fomaml", family=family)
    found, wanted = (engine_of(learner).meta_gradient([batch]).gradient for learner in (fomaml, maml))
    assert all(torch.equal(found[name], g) for name, g in wanted.items())


def waves(count: int, generator: torch.Generator) -> TaskBatch:
    """Sine waves of random amplitude and phase, ten points to learn from; eleven of the network's inputs are zero."""
    amplitude = 0.1 + 4.9 * torch.rand(count, 1, 1, generator=generator, dtype=torch.float64)
    phase = math.pi * torch.rand(count, 1, 1, generator=generator, dtype=torch.float64)

    def points() -> Examples:
        x = 10 * torch.rand(count, 10, 1, generator=generator, dtype=torch.float64) - 5
        return Examples(F.pad(x, (0, 11)), amplitude * torch.sin(x - phase))

    return TaskBatch(points(), points(), torch.arange(count))


def test_it_learns_sine_waves() -> None:
    """300 updates reach an error below 2 on new waves; the same network without adapting has more than 3."""
    generator = torch.Generator().manual_seed(0)
    learner = make("maml", hidden=[40, 40], family=Regression("waves", 1), inner_lr=0.01, inner_steps=1, test_steps=5)
    engine, optimizer = engine_of(learner), torch.optim.Adam(learner.parameters(), lr=5e-3)
    for _ in range(300):
        update = engine.meta_gradient([waves(10, generator)])
        for name, weight in learner.named_parameters():
            weight.grad = update.gradient[name] / update.tasks
        optimizer.step()
    held_out = waves(100, generator)
    error = float(engine_of(learner.eval()).evaluate([held_out])["mse"].mean())
    learner.test_steps = 0  # type: ignore[assignment]
    unadapted = float(engine_of(learner).evaluate([held_out])["mse"].mean())
    assert error < 2 < 3 < unadapted
