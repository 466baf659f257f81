"""MetaNet: gradients of single examples, the networks that make weights of them, and what these are for."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.metanet import Branch, Fast, FromGradient, FromSequence, MetaNet
from metamtl.data.task import Examples
from tests.algos.suite import WAYS, Blobs, engine_of, figures_of_new_classes, learn, make, outputs_of

WEIGHTS = ("weight", "bias")


def metanet(**changes: object) -> MetaNet:
    learner = make("metanet", **changes)  # type: ignore[arg-type]
    assert isinstance(learner, MetaNet)
    return learner


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_gradient_is_that_of_one_example() -> None:
    branch = Branch(6, 4, WAYS).double()
    features, labels = drawn(3, 6), torch.tensor([0, 2, 4])
    layers, heads = branch.gradients(features, F.one_hot(labels, WAYS).double())
    for number in range(3):
        loss = F.cross_entropy(branch.head(branch.layer(features[number]).relu()), labels[number])
        layer, head = torch.autograd.grad(loss, (branch.layer.weight, branch.head.weight))
        torch.testing.assert_close(layers[number], layer)
        torch.testing.assert_close(heads[number], head)
    assert not layers.requires_grad and not heads.requires_grad


def test_every_weight_is_made_from_its_own_gradients() -> None:
    for maker in (FromGradient(5).double(), FromSequence(5).double()):
        slopes = drawn(2, 3, 4)
        other = slopes.clone()
        other[:, 1, 2] += 1.0
        change = (maker(other) - maker(slopes)).view(-1, 12)
        change = change - change[:, :1]  # of the mean that is taken off all
        assert (change.abs() > 1e-12).any(0).nonzero().tolist() == [[6]]


@pytest.mark.parametrize(("sampled", "places"), [(1, [0]), (3, [0, 3, 6]), (5, [0, 2, 4, 6, 8]), (20, [*range(10)])])
def test_the_fast_weights_of_the_embedding_are_made_from_sampled_examples(sampled: int, places: list[int]) -> None:
    """Q* is what the maker says of their gradients, which are spread over the support set."""
    learner, features = metanet(sampled=sampled), drawn(10, 32)
    labels = F.one_hot(torch.arange(WAYS).repeat(2), WAYS).double()
    slopes, _ = learner.embedding.gradients(features, labels)
    kept = learner.read(features, labels)
    torch.testing.assert_close(kept.embedding, learner.from_sequence(slopes[places]))


def test_an_embedding_adds_what_slow_and_fast_weights_say() -> None:
    """Equation 7, one example at a time; what a maker as it is drawn says is no rounding error beside the slow."""
    learner, features = metanet(), drawn(10, 32)
    kept = learner.read(features, F.one_hot(torch.arange(WAYS).repeat(2), WAYS).double())
    slow = torch.stack([learner.embedding.layer(one).relu() for one in features])
    fast = torch.stack([(kept.embedding @ one).relu() for one in features])
    torch.testing.assert_close(kept.keys, slow + fast)
    assert fast.norm() > 0.05 * slow.norm()


def test_a_query_takes_the_mean_of_the_fast_weights_it_attends_to() -> None:
    """The products of the implementation against the matrices themselves, one query at a time."""
    learner, task = metanet(), Blobs((12,)).tasks(1).single()
    features, queries = drawn(10, 32), drawn(4, 32, seed=1)
    labels = F.one_hot(torch.arange(WAYS).repeat(2), WAYS).double()
    kept = learner.read(features, labels)
    found, b = learner.answer(kept, queries), learner.classifier
    for query, outputs in zip(queries, found, strict=True):
        embedded = learner.embedded(query.unsqueeze(0), kept.embedding)
        attention = F.cosine_similarity(embedded, kept.keys).softmax(0)
        hidden_fast = sum(a * w for a, w in zip(attention, kept.hidden, strict=True))
        output_fast = sum(a * w for a, w in zip(attention, kept.output, strict=True))
        hidden = b.layer(query).relu() + (hidden_fast @ query).relu()
        torch.testing.assert_close(outputs, b.head(hidden) + output_fast @ hidden)
    assert outputs_of(learner, task.support, task.query.x).shape == (25, WAYS)  # type: ignore[arg-type]


class Slow(MetaNet):
    """Without fast weights at the levels that `kept` leaves blank."""

    blank: tuple[str, ...] = ()

    def read(self, features: Tensor, labels: Tensor) -> Fast:
        kept = super().read(features, labels)
        return replace(kept, **{name: torch.zeros_like(getattr(kept, name)) for name in self.blank})


def slowed(learner: MetaNet, *blank: str) -> MetaNet:
    learner.__class__ = type("Slow", (Slow,), {"blank": blank})
    return learner


def test_without_fast_weights_a_task_teaches_nothing() -> None:
    task = Blobs((12,)).tasks(1).single()
    renamed = Examples(task.support.x, (task.support.labels + 1) % WAYS, WAYS)
    x = task.query.x
    assert isinstance(x, Tensor)
    learner = metanet()
    assert not torch.allclose(outputs_of(learner, renamed, x), outputs_of(learner, task.support, x), rtol=1e-3)
    slow = slowed(metanet(), "embedding", "hidden", "output")
    assert torch.equal(outputs_of(slow, renamed, x), outputs_of(slow, task.support, x))


def test_each_level_of_fast_weights_matters() -> None:
    batch = Blobs((12,)).tasks(2)
    whole = engine_of(metanet()).meta_gradient([batch]).figures["loss"]
    for level in (field.name for field in fields(Fast)):
        if level != "keys":
            without = engine_of(slowed(metanet(), level)).meta_gradient([batch]).figures["loss"]
            assert (without - whole).abs().min() > 1e-6, level


def test_both_makers_of_weights_are_trained() -> None:
    gradient = engine_of(metanet()).meta_gradient([Blobs((12,)).tasks(2)]).gradient
    found = {name for name, g in gradient.items() if g.abs().max() > 1e-12 and not name.startswith("network.")}
    # the last biases go with the mean that is taken off all
    sequence = {"lstm.gates.weight", "lstm.gates.bias", "head.weight"}
    alone = {f"layers.{layer}" for layer in ("0.weight", "0.bias", "2.weight", "2.bias", "4.weight")}
    makers = {f"from_sequence.{name}" for name in sequence} | {f"from_gradient.{name}" for name in alone}
    slow = {f"{of}.{part}" for of in ("embedding.layer", "classifier.layer", "classifier.head") for part in WEIGHTS}
    assert found == makers | slow
    # u's softmax layer is there for the gradients of its hidden layer alone, which are numbers
    assert gradient["embedding.head.weight"].abs().max() == 0


def test_what_it_has_learnt_is_in_the_fast_weights() -> None:
    learner, blobs = metanet(generator=4), Blobs((12,))
    learn(learner, blobs, steps=40, rate=1e-2)
    with_fast = float(figures_of_new_classes(learner, blobs)["accuracy"].mean())
    without = float(figures_of_new_classes(slowed(learner, "hidden", "output"), blobs)["accuracy"].mean())
    assert with_fast > 0.4 > 0.3 > without
