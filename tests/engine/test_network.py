"""Which statistics a pass uses, and that no pass changes the network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from metamtl.backbones.norm import BatchNorm, GroupNorm, Statistics
from metamtl.engine.network import Network
from metamtl.engine.plan import How
from tests.engine.made import (
    DENSE,
    NORMS,
    POOLED,
    RESIDUAL,
    Backbone,
    Method,
    batch_of,
    engine_of,
    fomaml,
    learner_of,
    maml,
    protonet,
)


def network_of(norm: str, backbone: Backbone = POOLED) -> Network:
    """A network whose stored averages are no batch's."""
    network = learner_of(maml(), backbone, norm).network
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    return network


def normal(count: int, seed: int, backbone: Backbone = POOLED) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *backbone.shape, generator=generator, dtype=torch.float64)


def predict(network: Network, support: Tensor, queries: Tensor) -> Tensor:
    return network.query(queries, statistics=network.support_statistics(support))


# ---- what an output depends on ----


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", NORMS)
def test_what_queries_depend_on(norm: str, training: bool) -> None:
    network = network_of(norm).train(training)
    support, other_support = normal(6, 1), normal(6, 2)
    queries, other_queries = normal(5, 3), torch.cat([normal(5, 3)[:2], normal(3, 4)])
    first_two = predict(network, support, queries)[:2]
    by_others = not torch.allclose(first_two, predict(network, support, other_queries)[:2], rtol=1e-9)
    by_support = not torch.allclose(first_two, predict(network, other_support, queries)[:2], rtol=1e-9)
    assert by_others is (norm == "batch" or (norm == "running" and training))
    assert by_support is (norm == "batch_support")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", NORMS)
def test_what_a_support_pass_depends_on(norm: str, training: bool) -> None:
    network = network_of(norm).train(training)
    x = normal(6, 1)
    others = torch.cat([x[:2], normal(4, 2)])
    apart = not torch.allclose(network.support(x)[:2], network.support(others)[:2], rtol=1e-9)
    assert apart is (norm.startswith("batch") or (norm == "running" and training))
    assert network.depends_on_batch is apart


@pytest.mark.parametrize("norm", NORMS)
def test_one_query_alone(norm: str) -> None:
    """At test a single query has the output that it has among others, unless queries are normalised together."""
    network = network_of(norm).eval()
    support, queries = normal(6, 1), normal(5, 3)
    alone = torch.cat([predict(network, support, queries[i : i + 1]) for i in range(5)])
    same = torch.allclose(alone, predict(network, support, queries), rtol=1e-9)
    assert same is (norm != "batch")


def test_support_statistics_make_the_support_set_itself_normal() -> None:
    """A support set sent through as queries gets the outputs of the support pass."""
    network = network_of("batch_support")
    support = normal(6, 1)
    torch.testing.assert_close(predict(network, support, support), network.support(support), rtol=1e-12, atol=1e-12)


def test_stored_averages_are_those_of_torch() -> None:
    network = network_of("running").eval()
    layer = network.backbone.get_submodule("blocks.0.1")
    assert isinstance(layer, BatchNorm)
    native = nn.BatchNorm2d(8).double().eval()
    native.load_state_dict({**layer.state_dict(), "num_batches_tracked": torch.tensor(0)})
    maps = torch.randn(3, 8, 4, 4, dtype=torch.float64)
    layer.given = (layer.running_mean, layer.running_var)
    torch.testing.assert_close(layer(maps), native(maps), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 3, 4)])
def test_batch_statistics_are_the_batchs(shape: tuple[int, ...], traced: bool) -> None:
    layer = BatchNorm(8).double()
    x = 3 + 2 * torch.randn(shape, dtype=torch.float64)
    layer.traced = traced
    y = layer(x)
    assert layer.used is not None
    axes = [0, *range(2, x.dim())]
    torch.testing.assert_close(layer.used[0], x.mean(axes), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.used[1], x.var(axes, correction=0), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(y.mean(axes), torch.zeros(8, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8, 40, 64])
def test_groups_leave_something_of_a_vector(channels: int) -> None:
    """A group of one number is normalised to nothing, so a group holds several wherever there are several."""
    layer = GroupNorm(channels).double()
    assert channels % layer.groups == 0 and layer.groups <= 8
    if channels > 1:
        assert layer(torch.randn(3, channels, dtype=torch.float64)).abs().min() > 0
    assert GroupNorm(64).groups == 8


# ---- nothing changes ----


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("method", [maml(), protonet()], ids=lambda method: method.name)
def test_neither_training_passes_nor_evaluation_change_the_learner(method: Method, norm: str, training: bool) -> None:
    learner = learner_of(method, POOLED, norm).train(training)
    before = copy.deepcopy(learner.state_dict())
    batch = batch_of(POOLED.shape)
    hows: tuple[How, ...] = ("loop", "vmap")
    for how in hows:
        engine = engine_of(learner, how)
        figures = engine.evaluate([batch])
        engine.meta_gradient([batch])
        assert torch.equal(engine.evaluate([batch])["loss"], figures["loss"])
    assert learner.training is training
    assert all(weight.grad is None for weight in learner.parameters())
    for name, tensor in learner.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_task_that_fails_leaves_no_noise_and_no_statistics() -> None:
    network = network_of("running", RESIDUAL)
    x = normal(4, 1, RESIDUAL)
    before = network.support(x)
    with pytest.raises(RuntimeError), network.task(torch.tensor(3)):
        network.query(x)
        network.query(x[:, :0])
    assert network.observed() == []
    assert torch.equal(network.support(x), before)
    assert all(layer.used is None and layer.given is None for layer in network._norms)


# ---- running averages ----


def moments_of_queries(network: Network, x: Tensor) -> Statistics:
    """Mean and biased variance of the first layer's inputs."""
    inputs = network.backbone.get_submodule("layers.0.0")(x)
    return inputs.mean(0), inputs.var(0, correction=0)


@pytest.mark.parametrize("examples", [1, 24, 36, 10_000])
@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_statistics_of_an_update_are_the_mean_over_tasks(how: How, examples: int) -> None:
    """However the five tasks are chunked; the reference is the first layer, whose inputs no weight changes."""
    learner, batch = learner_of(maml(adapt="head"), DENSE, "running"), batch_of(DENSE.shape, tasks=5)
    update = engine_of(learner, how, examples).meta_gradient([batch])
    assert isinstance(batch.query.x, Tensor)
    wanted = [moments_of_queries(learner.network, x) for x in batch.query.x]
    mean, var = (torch.stack(parts).mean(0) for parts in zip(*wanted, strict=True))
    assert len(update.statistics) == 2
    torch.testing.assert_close(update.statistics[0][0] / update.tasks, mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(update.statistics[0][1] / update.tasks, var, rtol=1e-9, atol=1e-12)


def test_statistics_do_not_depend_on_how_the_tasks_run() -> None:
    for method, backbone in ((maml(), POOLED), (fomaml(), RESIDUAL), (protonet(), RESIDUAL)):
        learner, batch = learner_of(method, backbone, "running"), batch_of(backbone.shape, tasks=5)
        loop = engine_of(learner, "loop").meta_gradient([batch]).statistics
        vectorised = engine_of(learner, "vmap", examples=24).meta_gradient([batch]).statistics
        assert len(loop) == len(learner.network._norms) > 0
        torch.testing.assert_close(vectorised, loop, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", ["batch", "batch_support", "group", "none"])
def test_only_running_averages_are_observed(norm: str) -> None:
    learner = learner_of(maml(), POOLED, norm)
    assert engine_of(learner, "vmap").meta_gradient([batch_of(POOLED.shape)]).statistics == []


def test_an_update_moves_the_averages_by_a_tenth() -> None:
    network = network_of("running")
    before = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in network._norms]
    seen = [(torch.full_like(mean, 2.0), torch.full_like(var, 3.0)) for mean, var in before]
    network.update_running(seen)
    for layer, (mean, var) in zip(network._norms, before, strict=True):
        torch.testing.assert_close(layer.running_mean, 0.9 * mean + 0.2)
        torch.testing.assert_close(layer.running_var, 0.9 * var + 0.3)
