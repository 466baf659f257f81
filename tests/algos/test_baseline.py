"""A task's head against torch's own SGD, and the pre-training stage against torch's own supervised training."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.algos.baseline import Baseline
from metamtl.data.family import Regression
from metamtl.errors import UsageError
from tests.algos.suite import CLASSES, Blobs, engine_of, make


def baseline(**changes: float) -> Baseline:
    learner = make("baseline", **changes)  # type: ignore[arg-type]
    assert isinstance(learner, Baseline)
    return learner


def trained_by_torch(features: Tensor, labels: Tensor, ways: int, batches: list[Tensor], **options: float) -> Tensor:
    head = nn.Linear(features.shape[1], ways).double()
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.SGD(head.parameters(), **options)  # type: ignore[arg-type]
    for chosen in batches:
        loss = F.cross_entropy(head(features[chosen]), labels[chosen])
        head.weight.grad, head.bias.grad = torch.autograd.grad(loss, [head.weight, head.bias])
        optimizer.step()
    return torch.cat([head.weight, head.bias.unsqueeze(1)], 1).detach()


@pytest.mark.parametrize(
    ("momentum", "dampening", "decay", "batch"),
    [(0.9, 0.9, 1e-3, 4), (0.9, 0.0, 0.0, 4), (0.0, 0.0, 0.1, 3), (0.5, 0.3, 0.01, 100)],
)
def test_the_head_is_trained_as_torch_trains_it(momentum: float, dampening: float, decay: float, batch: int) -> None:
    """The last batch of a pass is smaller where the batch does not divide the support set."""
    learner = baseline(
        head_epochs=7,
        head_batch=batch,
        head_lr=0.1,
        head_momentum=momentum,
        head_dampening=dampening,
        head_weight_decay=decay,
    )
    generator = torch.Generator().manual_seed(2)
    features, labels = torch.randn(11, 6, generator=generator, dtype=torch.float64), torch.arange(11) % 3
    batches = learner._batches(11)
    assert len(batches) == 7 * -(-11 // batch)
    sgd = {"lr": 0.1, "momentum": momentum, "dampening": dampening, "weight_decay": decay}
    wanted = trained_by_torch(features, labels, 3, batches, **sgd)
    head = learner.fit(features, labels, 3)
    torch.testing.assert_close(head, wanted, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(learner.score(head, features), features @ wanted[:, :-1].T + wanted[:, -1])


def test_every_pass_sees_every_example_once_in_another_order() -> None:
    learner = baseline(head_epochs=5, head_batch=4)
    passes = torch.cat(learner._batches(10)).view(5, 10)
    assert torch.equal(passes.sort(1).values, torch.arange(10).expand(5, 10))
    assert len({tuple(order.tolist()) for order in passes}) == 5
    assert torch.equal(torch.cat(learner._batches(10)), passes.flatten())  # and every task the same orders


def test_no_pass_leaves_a_head_of_zeros() -> None:
    head = baseline(head_epochs=0).fit(torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 1, 0, 1]), 2)
    assert torch.equal(head, torch.zeros(2, 4, dtype=torch.float64))


def test_a_minibatch_is_supervised_training() -> None:
    """Mean cross-entropy over all meta-train classes, and its gradient as torch takes it."""
    learner, minibatch = baseline(), Blobs((12,)).minibatch(32)
    update = engine_of(learner).minibatch_gradient(minibatch, step=0)
    network = learner.network
    assert isinstance(network.head, nn.Linear) and network.head.out_features == CLASSES
    loss = F.cross_entropy(network.head(network.backbone(minibatch.examples.x)), minibatch.examples.labels)
    assert update.tasks == 32
    torch.testing.assert_close(update.figures["loss"], loss.detach().expand(32))
    gradients = torch.autograd.grad(loss, list(learner.parameters()))
    for g, (name, _) in zip(gradients, learner.named_parameters(), strict=True):
        torch.testing.assert_close(update.gradient[name] / update.tasks, g)


def test_adapting_leaves_the_backbone_alone() -> None:
    learner, task = baseline(), Blobs((12,)).tasks(1).single()
    state = learner.eval().adapt(task.support)
    wanted = learner.fit(learner.network.support(task.support.x, head=False), task.support.labels, 5)
    torch.testing.assert_close(state.rule, wanted)


def test_data_without_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="algo=maml"):
        make("baseline", family=Regression("waves", 1))
