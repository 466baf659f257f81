"""In float64 every way of running the tasks gives the meta-gradient of a plain per-task loop.

And the loop gives that of finite differences; in float32 no way is further from float64 than the plain loop is.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos import descent
from metamtl.algos.base import Learner
from metamtl.backbones.norm import BatchNorm
from metamtl.data.task import TaskBatch
from metamtl.engine.plan import How, Memory
from tests.engine.made import (
    DENSE,
    HOWS,
    MEMORIES,
    METHODS,
    NORMS,
    POOLED,
    RESIDUAL,
    STRIDED,
    TASKS,
    Backbone,
    Method,
    anil,
    assert_close,
    batch_of,
    engine_of,
    fomaml,
    learner_of,
    maml,
    meta_gradient,
    overall_error,
    protonet,
)
from tests.engine.plain import Plain

by_name = pytest.mark.parametrize
Weights = dict[str, Tensor]
EXAMPLES_A_TASK = 12


def plain_gradient(
    method: Method, backbone: Backbone, norm: str, learner: Learner, batch: TaskBatch
) -> dict[str, Tensor]:
    """The reference's gradient, named as the learner's parameters are."""
    weights = dict(learner.network.named_parameters())
    found = Plain(method, backbone, norm).meta_gradient(weights, batch)
    return {f"network.{name}": g for name, g in found.items()}


# ---- loop == vmap == plain ----


PAIRS = (
    *((method, backbone) for method in METHODS for backbone in (POOLED, STRIDED, DENSE)),
    *((method, RESIDUAL) for method in (maml(), fomaml(), anil(), protonet())),  # with DropBlock's noise
)


@by_name("norm", NORMS)
@by_name(("method", "backbone"), PAIRS, ids=lambda part: part.name)
def test_loop_vmap_and_reference_agree(method: Method, backbone: Backbone, norm: str) -> None:
    learner, batch = learner_of(method, backbone, norm), batch_of(backbone.shape)
    loop = meta_gradient(engine_of(learner, "loop"), batch)
    assert_close(loop, plain_gradient(method, backbone, norm, learner, batch))
    assert_close(meta_gradient(engine_of(learner, "vmap"), batch), loop)


@by_name("examples", [1, 2 * EXAMPLES_A_TASK, 3 * EXAMPLES_A_TASK, 10_000])
@by_name("method", [maml(), fomaml(), protonet()], ids=lambda method: method.name)
def test_chunks_of_any_size_agree(method: Method, examples: int) -> None:
    """Chunks of 1, 2, 3 (the last one smaller) and all five tasks."""
    learner, batch = learner_of(method, POOLED, "running"), batch_of(POOLED.shape, tasks=5)
    loop = engine_of(learner, "loop").meta_gradient([batch])
    chunked = engine_of(learner, "vmap", examples).meta_gradient([batch])
    assert chunked.tasks == loop.tasks == 5
    assert_close(chunked.gradient, loop.gradient)
    for name, values in loop.figures.items():
        torch.testing.assert_close(chunked.figures[name], values, rtol=1e-12, atol=1e-14)


WAYS_OF_RUNNING = tuple((how, workers, memory) for how in HOWS for workers in (1, 2) for memory in MEMORIES)


@by_name(("how", "workers", "memory"), WAYS_OF_RUNNING)
@by_name(
    ("method", "backbone", "norm"),
    [
        (maml(), POOLED, "batch"),
        (maml(), RESIDUAL, "running"),
        (maml(adapt="body"), STRIDED, "batch_support"),
        (maml(inner_steps=0), POOLED, "batch"),
        (fomaml(), DENSE, "none"),
        (anil(), RESIDUAL, "group"),
        (protonet(), RESIDUAL, "running"),
    ],
    ids=lambda part: getattr(part, "name", part),
)
def test_workers_and_flat_memory_agree(
    method: Method, backbone: Backbone, norm: str, how: How, workers: int, memory: Memory
) -> None:
    """Five tasks in chunks of one, or of two and three; noise and statistics are those of the steps' first run."""
    learner, batch = learner_of(method, backbone, norm), batch_of(backbone.shape, tasks=5)
    wanted = engine_of(learner, "loop").meta_gradient([batch])
    found = engine_of(learner, how, workers=workers, memory=memory).meta_gradient([batch])
    assert found.tasks == 5
    assert_close(found.gradient, wanted.gradient)
    torch.testing.assert_close(found.statistics, wanted.statistics, rtol=1e-9, atol=1e-12)
    for name, values in wanted.figures.items():
        torch.testing.assert_close(found.figures[name], values, rtol=1e-12, atol=1e-14)


def test_batches_of_several_shapes_add_up() -> None:
    learner = learner_of(maml(), POOLED, "batch")
    batches = [batch_of(POOLED.shape, tasks=2), batch_of(POOLED.shape, tasks=3, seed=2, shots=4)]
    together = engine_of(learner, "vmap").meta_gradient(batches)
    apart = [engine_of(learner, "loop").meta_gradient([batch]) for batch in batches]
    assert together.tasks == 5
    assert_close(together.gradient, {name: g + apart[1].gradient[name] for name, g in apart[0].gradient.items()})


@by_name("method", [maml(), maml("first")], ids=lambda method: method.name)
def test_frozen_weights_adapt_without_being_meta_learned(method: Method) -> None:
    learner, batch = learner_of(method, POOLED, "batch"), batch_of(POOLED.shape)
    whole = meta_gradient(engine_of(learner, "loop"), batch)
    learner.network.backbone.requires_grad_(False)
    loop, vectorised = (meta_gradient(engine_of(learner, how), batch) for how in HOWS)
    assert loop.keys() == {"network.head.weight", "network.head.bias"}
    assert_close(loop, {name: whole[name] for name in loop})
    assert_close(vectorised, loop)
    assert not any(weight.requires_grad for weight in learner.network.backbone.parameters())


def test_evaluating_is_the_same_function() -> None:
    """Evaluating gives the losses that the meta-gradient reports, whichever way each of them runs."""
    for method in (maml(), anil("first"), protonet("cosine")):
        learner, batch = learner_of(method, POOLED, "batch"), batch_of(POOLED.shape)
        figures = engine_of(learner, "vmap").meta_gradient([batch]).figures
        hows: tuple[How, ...] = ("loop", "vmap", "auto")
        for how in hows:
            evaluated = engine_of(learner, how).evaluate([batch])
            assert evaluated.keys() == figures.keys() == {"loss", "accuracy"}
            torch.testing.assert_close(evaluated["loss"], figures["loss"], rtol=1e-12, atol=1e-14)


# ---- finite differences ----


def central_differences(
    learner: Learner, loss: Callable[[], float], step: float = 1e-6
) -> dict[str, tuple[int, float]]:
    """For one entry of every tensor (the place, and the slope of `loss` there)."""
    generator = torch.Generator().manual_seed(3)
    found = {}
    for name, weight in learner.named_parameters():
        place = int(torch.randint(weight.numel(), (), generator=generator))
        entries, sides = weight.data.view(-1), []
        before = float(entries[place])
        for side in (step, -step):
            entries[place] = before + side
            sides.append(loss())
        entries[place] = before
        found[name] = place, (sides[0] - sides[1]) / (2 * step)
    return found


def assert_slopes(gradient: dict[str, Tensor], slopes: dict[str, tuple[int, float]]) -> None:
    largest = max(abs(slope) for _, slope in slopes.values())
    for name, (place, slope) in slopes.items():
        # rounding in the loss, 1e-16, over the step is 1e-10
        assert float(gradient[name].view(-1)[place]) == pytest.approx(slope, rel=1e-6, abs=1e-6 * largest), name


DIFFERENTIATED = (
    *((method, POOLED) for method in (maml(adapt="head"), maml(adapt="body"), anil(), protonet("cosine"))),
    *((method, backbone) for method in (maml(), protonet()) for backbone in (POOLED, STRIDED, DENSE)),
)


@by_name("norm", NORMS)
@by_name(("method", "backbone"), DIFFERENTIATED, ids=lambda part: part.name)
def test_finite_differences(method: Method, backbone: Backbone, norm: str) -> None:
    learner, batch = learner_of(method, backbone, norm), batch_of(backbone.shape, tasks=2)
    gradient = meta_gradient(engine_of(learner, "loop"), batch)
    engine = engine_of(learner, "loop")
    assert_slopes(gradient, central_differences(learner, lambda: float(engine.evaluate([batch])["loss"].mean())))


@by_name("method", [maml(inner_steps=1), protonet()], ids=lambda method: method.name)
def test_finite_differences_with_noise(method: Method) -> None:
    learner, batch = learner_of(method, RESIDUAL, "running"), batch_of(RESIDUAL.shape, tasks=1)
    engine = engine_of(learner, "loop")
    noisy = engine.meta_gradient([batch]).figures["loss"]
    assert not torch.allclose(noisy, engine.evaluate([batch])["loss"])  # the noise is on

    def loss() -> float:
        return float(engine_of(learner, "vmap").meta_gradient([batch]).figures["loss"].mean())

    assert_slopes(meta_gradient(engine, batch), central_differences(learner, loss))


@by_name("method", [fomaml(), anil("first")], ids=lambda method: method.name)
def test_finite_differences_of_first_order(method: Method) -> None:
    """The first-order gradient is that of the query loss with the inner displacement held fixed."""
    learner, batch = learner_of(method, POOLED, "batch"), batch_of(POOLED.shape, tasks=1)
    gradient = meta_gradient(engine_of(learner, "vmap"), batch)
    task, start = batch.single(), dict(learner.network.named_parameters())
    moved: dict[str, Tensor] = learner.adapt(task.support).weights
    displacement = {name: (weight - start[name]).detach() for name, weight in moved.items()}

    def loss() -> float:
        weights = {name: start[name] + shift for name, shift in displacement.items()}
        return float(learner.family.loss(learner.network.query(task.query.x, weights), task.query).detach())

    assert any(float(shift.abs().max()) > 1e-3 for shift in displacement.values())
    assert_slopes(gradient, central_differences(learner, loss))


# ---- the native batch normalisation under vmap ----


def native(layer: BatchNorm, x: Tensor) -> Tensor:
    layer.used = (x.detach().mean((0, 2, 3)), x.detach().var((0, 2, 3), correction=0))
    return F.batch_norm(x, None, None, layer.weight, layer.bias, training=True, eps=layer.epsilon)


def nested(loss: Callable[[Weights], Tensor], weights: Weights, order: str) -> Weights:
    """An inner gradient by `torch.func.grad` within `vmap`."""
    slopes: Weights = torch.func.grad(loss)(weights)
    return slopes


@by_name("backbone", [POOLED, STRIDED], ids=lambda part: part.name)
def test_a_learner_may_use_transforms_itself(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, batch = learner_of(maml(), backbone, "batch"), batch_of(backbone.shape)
    wanted = meta_gradient(engine_of(learner, "loop"), batch)
    monkeypatch.setattr(descent, "gradient", nested)
    assert overall_error(meta_gradient(engine_of(learner, "vmap"), batch), wanted) < 1e-12


def test_native_batch_norm_is_wrong_in_nested_transforms_and_never_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trap is real: the same learner and tasks; only backward through vmap(grad) goes wrong (torch 2.13: 0.3%)."""
    learner, batch = learner_of(maml(), STRIDED, "batch"), batch_of(STRIDED.shape)
    loop, vectorised = engine_of(learner, "loop"), engine_of(learner, "vmap")
    wanted = meta_gradient(loop, batch)
    monkeypatch.setattr(BatchNorm, "forward", native)
    assert overall_error(meta_gradient(loop, batch), wanted) < 1e-12
    assert overall_error(meta_gradient(vectorised, batch), wanted) < 1e-12
    monkeypatch.setattr(descent, "gradient", nested)
    error = overall_error(meta_gradient(vectorised, batch), wanted)
    if error < 1e-9:
        pytest.skip(f"torch {torch.__version__} differentiates F.batch_norm rightly through vmap")
    assert error > 1e-4


# ---- float32 ----


def float32_errors(method: Method, backbone: Backbone, norm: str, seed: int) -> dict[str, float]:
    """Distances of the float32 meta-gradients from the float64 one, which every way agrees on."""
    exact, batch = learner_of(method, backbone, norm, seed), batch_of(backbone.shape, seed=seed)
    wanted = meta_gradient(engine_of(exact, "loop"), batch)
    learner = learner_of(method, backbone, norm, seed, torch.float32)
    single = batch.to(torch.device("cpu"), torch.float32)
    found = {
        "loop": meta_gradient(engine_of(learner, "loop"), single),
        "vmap": meta_gradient(engine_of(learner, "vmap"), single),
        "plain": plain_gradient(method, backbone, norm, learner, single),
    }
    return {how: overall_error(gradient, wanted) for how, gradient in found.items()}


@by_name("norm", ["batch", *(pytest.param(norm, marks=pytest.mark.slow) for norm in NORMS if norm != "batch")])
@by_name("method", [maml(), protonet()], ids=lambda method: method.name)
def test_float32_is_no_further_from_float64_than_the_plain_loop(method: Method, norm: str) -> None:
    """The median over seeds, since one ReLU switch outweighs all rounding.

    A sum of T tasks' examples in one go rounds up to sqrt(T) times more than T sums that are added up: a factor of
    1.7 here. The measured ratios lie between 0.8 and 1.5.
    """
    errors = [float32_errors(method, STRIDED, norm, seed) for seed in range(5)]
    typical = {how: median(error[how] for error in errors) for how in errors[0]}
    assert typical["plain"] < 1e-5
    assert typical["loop"] <= TASKS**0.5 * typical["plain"]
    assert typical["vmap"] <= TASKS**0.5 * typical["plain"]
