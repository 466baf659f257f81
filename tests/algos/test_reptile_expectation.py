"""Reptile's expected update against its Taylor expansion: Nichol, Achiam & Schulman (2018), section 5.1.

Over all orders of k minibatches, whose losses have the gradients g_i and Hessians H_i at theta, k steps of gradient
descent at rate alpha give (theta - theta~) / alpha = k AvgGrad - k (k - 1) / 2 alpha AvgGradInner + O(alpha^2), with
AvgGrad = E[g_i] and AvgGradInner = E[H_j g_i] = E[d (g_i . g_j) / d theta] / 2 over pairs of different minibatches.
Here losses are smooth (cross-entropy of a linear network), and the expectation is over every order.
"""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

from metamtl.algos import reptile
from metamtl.data.random import permutation
from metamtl.data.task import Examples, Task, TaskBatch
from tests.algos.suite import Blobs, engine_of, make

BATCH, STEPS = 4, 3


@pytest.fixture(autouse=True)
def gradient_descent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the inner steps those of the paper's analysis: Adam is gradient descent where epsilon is all it divides by.

    The inner rate is then in units of 1 / epsilon.
    """
    monkeypatch.setattr(reptile, "_EPSILON", 1e9)


def minibatches() -> list[Examples]:
    support = Blobs((12,)).tasks(1, shots=3).single().support
    order = torch.randperm(BATCH * STEPS, generator=torch.Generator().manual_seed(0))
    return [support.map(lambda values, own=own: values[own]) for own in torch.split(order, BATCH)]  # type: ignore[misc]


def a_task_of(batches: list[Examples]) -> Task:
    """A task whose support set is passed over in these batches, one after another."""
    places = torch.from_numpy(permutation(BATCH * STEPS, 0, 0)).argsort()

    def laid_out(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts)[places]

    x, y = [one.x for one in batches if isinstance(one.x, Tensor)], [one.labels for one in batches]
    support = Examples(laid_out(x), laid_out(y), batches[0].ways)
    return Task(support, support, torch.tensor(0))


def displacement(alpha: float, batches: list[Examples], steps: int = STEPS) -> Tensor:
    """What the engine gives as the meta-gradient of one task, by the rate: (theta - theta~) / alpha."""
    options = {"inner_lr": alpha * 1e9, "inner_steps": steps, "inner_batch": BATCH}
    learner = make("reptile", hidden=[], **options)  # type: ignore[arg-type]
    task = a_task_of(batches)
    one = TaskBatch(
        task.support.map(lambda t: t.unsqueeze(0)), task.query.map(lambda t: t.unsqueeze(0)), torch.zeros(1).long()
    )
    found = engine_of(learner).meta_gradient([one]).gradient
    return torch.cat([g.flatten() for g in found.values()]) / alpha


def expected(alpha: float) -> Tensor:
    """The mean over every order of the minibatches."""
    orders = list(permutations(minibatches()))
    return torch.stack([displacement(alpha, list(order)) for order in orders]).mean(0)


def terms() -> tuple[Tensor, Tensor]:
    """AvgGrad and AvgGradInner, by differentiating twice."""
    learner = make("reptile", hidden=[])
    weights = list(learner.network.parameters())
    slopes = []
    for batch in minibatches():
        loss = learner.family.loss(learner.network.support(batch.x), batch)
        found = torch.autograd.grad(loss, weights, create_graph=True)
        slopes.append(torch.cat([g.flatten() for g in found]))
    pairs = [a @ b for i, a in enumerate(slopes) for j, b in enumerate(slopes) if i != j]
    inner = torch.autograd.grad(torch.stack(pairs).mean() / 2, weights)
    return torch.stack(slopes).mean(0).detach(), torch.cat([g.flatten() for g in inner])


def test_its_expected_update_is_that_of_the_paper_to_leading_order() -> None:
    """What is left after both terms falls as the square of the rate; after the first term alone as the rate."""
    average, inner = terms()
    assert inner.norm() > 0.1 * average.norm()
    left: dict[str, list[float]] = {"both": [], "first": []}
    for alpha in (1e-3, 5e-4):
        rest = expected(alpha) - STEPS * average
        left["first"].append(float(rest.norm()))
        left["both"].append(float((rest + STEPS * (STEPS - 1) / 2 * alpha * inner).norm()))
    assert left["both"][0] < 0.05 * left["first"][0]
    assert left["first"][0] / left["first"][1] == pytest.approx(2, rel=0.05)
    assert left["both"][0] / left["both"][1] == pytest.approx(4, rel=0.05)


def test_it_walks_to_where_gradients_of_minibatches_agree() -> None:
    """The second term raises their products; with one step there is none, as in training on all tasks jointly."""
    average, inner = terms()
    alpha = 1e-3
    assert float((expected(alpha) - STEPS * average) @ inner) < 0
    one = torch.stack([displacement(alpha, [first, *minibatches()[:2]], steps=1) for first in minibatches()]).mean(0)
    torch.testing.assert_close(one, average, rtol=1e-5, atol=1e-8)
