"""MANN: both protocols, and what the memory is for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.labelled_sequence import in_order
from metamtl.algos.mann import MANN, by_presentation, presentations
from metamtl.algos.memory import Memory
from metamtl.data.task import Examples
from metamtl.engine.terms import Term, View
from metamtl.errors import UsageError
from tests.algos.suite import WAYS, Blobs, engine_of, make, outputs_of

SMALL = {"controller": 8, "slots": 7, "width": 3, "heads": 2}


def mann(**changes: object) -> MANN:
    learner = make("mann", **{**SMALL, **changes})  # type: ignore[arg-type]
    assert isinstance(learner, MANN)
    return learner


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- protocols ----


def test_each_query_comes_next_by_itself() -> None:
    """As if it were shown after the support set and its labels, without one, whatever other queries there are."""
    learner, support = mann(), Blobs((12,)).tasks(1, shots=1).single().support
    features, queries = drawn(WAYS, 32), drawn(3, 32, seed=1)
    labels = F.one_hot(support.labels, WAYS).double()
    found = learner.answer(learner.read(features, labels), queries)
    mean, var = features.mean(0), features.var(0, correction=0)
    spread = (var + var.mean()).sqrt() + 1e-6
    for query, outputs in zip(queries, found, strict=True):
        memory = learner.memory.blank(features)
        shown = [(x - mean) / spread for x in (*features, query)]
        for x, y in zip(shown, [*labels, torch.zeros(WAYS)], strict=True):
            memory = learner.memory(torch.cat([x, y]).unsqueeze(0), memory)
        torch.testing.assert_close(learner.head(torch.cat([memory.hidden, memory.found], 1))[0], outputs)


def test_a_presentation_is_predicted_before_its_label_is_shown() -> None:
    """In the sequential protocol outputs depend on earlier labels and on nothing that comes later."""
    learner = mann(protocol="sequential")
    x, labels = drawn(10, 12), torch.arange(WAYS).repeat(2)
    outputs = learner.presented(Examples(x, labels, WAYS))
    other = labels.clone()
    other[4] = 0
    changed = (learner.presented(Examples(x, other, WAYS)) != outputs).any(1)
    assert changed.tolist() == [number > 4 for number in range(10)]


def test_a_query_of_the_sequential_protocol_comes_as_it_was_trained() -> None:
    """Where a model is used, a query is the next presentation after the support set: the last label comes with it."""
    learner = mann(protocol="sequential").eval()
    x, labels = drawn(10, 12), torch.arange(WAYS).repeat(2)
    kept = learner.adapt(Examples(x[:9], labels[:9], WAYS))
    torch.testing.assert_close(learner.predict(kept, x[9:]), learner.presented(Examples(x, labels, WAYS))[9:])


def test_accuracies_are_counted_by_presentation() -> None:
    labels = torch.tensor([1, 0, 1, 0, 0, 1, 1])
    outputs = F.one_hot(torch.tensor([1, 1, 1, 0, 1, 1, 1]), 2).double()
    found = by_presentation(outputs, Examples(torch.zeros(7), labels, 2))
    wanted = {"accuracy_1": 0.5, "accuracy_2": 1.0, "accuracy_3": 0.5, "accuracy_4": 1.0}
    assert {name: float(value) for name, value in found.items()} == wanted


def test_what_has_come_says_nothing_of_what_comes() -> None:
    """Whoever names the class that came least often is right by chance; an order of all examples would tell him."""
    labels, hits, told = torch.arange(WAYS).repeat_interleave(6), [], []
    for number in range(400):
        sequence = presentations(Examples(drawn(30, 2), labels, WAYS), torch.tensor(number))
        assert len(sequence.labels) == 15
        came = F.one_hot(sequence.labels[:-1], WAYS).sum(0)
        hits.append(float(sequence.labels[-1] == came.argmin()))
        in_all = in_order(Examples(drawn(30, 2), labels, WAYS), torch.tensor(number)).labels
        told.append(float(in_all[-1] == F.one_hot(in_all[:-1], WAYS).sum(0).argmin()))
    assert abs(sum(hits) / 400 - 0.2) < 0.07 and sum(told) == 400


def test_presentations_are_other_examples_of_their_classes() -> None:
    """As long as there are others: of four that come seven times three come twice."""
    labels, most = torch.tensor([2, 0, 1, 0, 2, 1, 0, 2, 1, 0, 2, 1]), 0
    for number in range(50):
        sequence = presentations(Examples(torch.arange(12.0)[:, None], labels, 3), torch.tensor(number))
        assert isinstance(sequence.x, Tensor)
        places = sequence.x.squeeze(1).long()
        assert torch.equal(labels[places], sequence.labels)
        for label in range(3):
            of_class = places[sequence.labels == label].tolist()
            assert len(set(of_class)) == min(len(of_class), 4)
            most = max(most, len(of_class))
    assert most > 4


def test_a_feature_that_the_support_set_lacks_does_not_drown_the_others() -> None:
    learner, features, labels = mann(), drawn(WAYS, 32), torch.eye(WAYS, dtype=torch.float64)
    features[:, 0] = 0
    kept = learner.read(features, labels)
    query = features[:1].clone()
    query[:, 0] = 1
    assert ((query - kept[1]) / kept[2]).abs().max() < 5


def test_the_sequential_protocol_reports_every_presentation_alike_in_every_way() -> None:
    learner, batch = mann(protocol="sequential").eval(), Blobs((12,)).tasks(3, shots=1, queries=2)
    figures = engine_of(learner, "loop").evaluate([batch])
    assert set(figures) == {"loss", "accuracy", "accuracy_1", "accuracy_2"}
    vectorised = engine_of(learner, "vmap").evaluate([batch])
    for name, values in figures.items():
        torch.testing.assert_close(vectorised[name], values, rtol=1e-9, atol=1e-12)
    found, wanted = (engine_of(learner.train(), how).meta_gradient([batch]).gradient for how in ("vmap", "loop"))
    for name, g in wanted.items():
        torch.testing.assert_close(found[name], g, rtol=1e-9, atol=1e-12)


class Outputs(Term):
    """As many as there are."""

    def value(self, view: View) -> Tensor:
        return view.outputs.sum() * 0 + len(view.outputs)


def test_penalties_join_the_loss_of_either_protocol() -> None:
    task = Blobs((12,)).tasks(1, shots=1, queries=3).single()
    for protocol, count in (("sequential", 10), ("episodic", 15)):
        learner = mann(protocol=protocol).train()
        loss = learner(task).loss
        learner.terms["outputs"] = Outputs(0.5, "outer")
        outcome = learner(task)
        torch.testing.assert_close(outcome.loss - loss, torch.tensor(0.5 * count, dtype=loss.dtype))
        assert outcome.figures["outputs"].item() == 0.5 * count


def test_the_order_is_that_of_the_tasks_number() -> None:
    examples = Examples(drawn(10, 2), torch.arange(10), 10)
    orders = [in_order(examples, torch.tensor(number)).labels.tolist() for number in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2]) == list(range(10))
    moved = in_order(examples, torch.tensor(1))
    assert isinstance(moved.x, Tensor) and isinstance(examples.x, Tensor)
    assert torch.equal(moved.x, examples.x[moved.labels])


# ---- what it is for ----


def forgetful(learner: MANN) -> MANN:
    """The same learner, whose readings are blank."""
    step = learner.memory.forward
    learner.memory.forward = lambda x, before: _unread(step(x, before))  # type: ignore[method-assign]
    return learner


def _unread(memory: Memory) -> Memory:
    return memory._replace(found=torch.zeros_like(memory.found))


def test_queries_find_their_support_in_the_memory() -> None:
    """Without readings outputs change, and the read weights say nothing about the slope any more."""
    batch = Blobs((12,)).tasks(2)
    learner = mann()
    found, without = (engine_of(one).meta_gradient([batch]) for one in (learner, forgetful(mann())))
    assert float((found.figures["loss"] - without.figures["loss"]).abs().min()) > 1e-6
    assert found.gradient["memory.keys.weight"].abs().max() > 0
    assert without.gradient["memory.keys.weight"].abs().max() == 0


def test_renaming_the_classes_is_permuting_columns_and_rows() -> None:
    """Labels are columns of the controller's input, outputs are rows of the head."""
    new, task = torch.tensor([3, 0, 4, 1, 2]), Blobs((12,)).tasks(1).single()
    learner, other = mann(), mann()
    with torch.no_grad():
        code = other.memory.controller.gates.weight[:, 32 : 32 + WAYS]
        code[:, new] = code.clone()
        for weight in (other.head.weight, other.head.bias):
            weight[new] = weight.clone()
    renamed = Examples(task.support.x, new[task.support.labels], WAYS)
    x = task.query.x
    assert isinstance(x, Tensor)
    torch.testing.assert_close(outputs_of(other, renamed, x)[:, new], outputs_of(learner, task.support, x))


def test_there_is_a_row_for_every_head() -> None:
    with pytest.raises(UsageError, match=r"algo\.slots=2.*algo\.heads=4"):
        mann(slots=2, heads=4)
