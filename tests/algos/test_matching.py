"""Attention against the paper's sum, full-context embeddings against torch's LSTM, and what each adds."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metamtl.algos.full_context import FullContext, LSTMCell
from metamtl.algos.matching import MatchingNet
from metamtl.algos.protonet import ProtoNet
from tests.algos.suite import Blobs, engine_of, make


def matching(**changes: Any) -> MatchingNet:
    learner = make("matching", **changes)
    assert isinstance(learner, MatchingNet)
    return learner


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LABELS = torch.tensor([2, 0, 1, 0, 0, 2, 1])  # classes of three, two and two examples


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_a_label_has_the_attention_of_its_examples(distance: str) -> None:
    """Equation 1, term by term."""
    support, queries = drawn(7, 4), drawn(5, 4, seed=1)
    learner = matching(distance=distance, scale=0.7)
    found = learner.score(learner.fit(support, LABELS, 3), queries)

    def likeness(q: Tensor, s: Tensor) -> float:
        cosine = q @ s / (q.norm() * s.norm())
        return float(cosine if distance == "cosine" else -(q - s).square().sum())

    for row, q in zip(found, queries, strict=True):
        weights = [math.exp(0.7 * likeness(q, s)) for s in support]
        for c in range(3):
            share = sum(w for w, label in zip(weights, LABELS, strict=True) if label == c) / sum(weights)
            assert float(row[c]) == pytest.approx(math.log(share))


def test_examples_are_attended_to_and_not_their_mean() -> None:
    """A class of two far examples is met at either; its mean lies with the other class. With one shot both agree."""
    support = torch.tensor([[-4.0, 0.0], [4.0, 0.0], [1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    labels, query = torch.tensor([0, 0, 1, 1]), torch.tensor([[3.6, 0.0]], dtype=torch.float64)
    mean, learner = make("protonet", distance="euclidean"), matching(distance="euclidean", scale=1.0)
    assert isinstance(mean, ProtoNet)
    assert learner.score(learner.fit(support, labels, 2), query).argmax(1).tolist() == [0]
    assert mean.score(mean.fit(support, labels, 2), query).argmax(1).tolist() == [1]
    for x in (support[1:3], support[2:]):
        attention = learner.score(learner.fit(x, labels[1:3], 2), query)
        logits = mean.score(mean.fit(x, labels[1:3], 2), query)
        torch.testing.assert_close(attention, logits.log_softmax(1))


def test_the_cell_is_torchs_lstm() -> None:
    cell, wanted = LSTMCell(3, 4, 4).double(), nn.LSTMCell(3, 4).double()
    with torch.no_grad():  # torch orders its gates input, forget, new, output
        i, f, g, o = torch.cat([wanted.weight_ih, wanted.weight_hh], 1).chunk(4)
        cell.gates.weight.copy_(torch.cat([f, i, o, g]))
        i, f, g, o = (wanted.bias_ih + wanted.bias_hh).chunk(4)
        cell.gates.bias.copy_(torch.cat([f, i, o, g]))
    x, hidden, memory = drawn(5, 3), drawn(5, 4, seed=1), drawn(5, 4, seed=2)
    for found, one in zip(cell(x, hidden, memory), wanted(x, (hidden, memory)), strict=True):
        torch.testing.assert_close(found, one)


def test_full_context_sees_the_whole_support_set_in_its_order() -> None:
    torch.manual_seed(0)
    context, support, queries = FullContext(4, read_steps=3).double(), drawn(6, 4), drawn(2, 4, seed=1)
    g = context.support(support)
    for at in (0, 5):
        other = support.clone()
        other[at] += 1
        assert (context.support(other) - g).abs().amax(1).min() > 1e-6  # every example hears of it
    assert not torch.allclose(context.support(support.flip(0)).flip(0), g)
    f = context.queries(queries, g)
    assert not torch.allclose(context.queries(queries, 2 * g), f)
    torch.testing.assert_close(context.queries(queries, g.flip(0)), f)  # reading by attention has no order
    one_by_one = torch.cat([context.queries(q, g) for q in torch.split(queries, 1)])
    torch.testing.assert_close(one_by_one, f)


def test_full_context_is_added_to_what_an_example_is_by_itself() -> None:
    """Appendix A.1, equations 3 to 6, query by query, and A.2, step by step: both with their skip connections."""
    torch.manual_seed(0)
    context, features, queries = FullContext(4, read_steps=3).double(), drawn(6, 4), drawn(2, 4, seed=1)
    g = features.clone()
    for cell, places in ((context.forwards, range(6)), (context.backwards, reversed(range(6)))):
        hidden = memory = torch.zeros(1, 4, dtype=torch.float64)
        for place in places:
            hidden, memory = cell(features[place : place + 1], hidden, memory)
            g[place] = g[place] + hidden[0]
    torch.testing.assert_close(context.support(features), g)
    for query, found in zip(queries, context.queries(queries, g), strict=True):
        h, memory = query, torch.zeros(1, 4, dtype=torch.float64)
        for _ in range(3):
            weights = torch.stack([h @ one for one in g]).exp()
            read = sum((weight * one for weight, one in zip(weights, g, strict=True)), torch.zeros_like(h))
            seen = torch.cat([h, read / weights.sum()]).unsqueeze(0)
            state, memory = context.reader(query.unsqueeze(0), seen, memory)
            h = state[0] + query
        torch.testing.assert_close(found, h)


def test_full_context_learns_and_runs_alike_vectorised() -> None:
    learner, batch = matching(full_context=True, read_steps=2), Blobs((12,)).tasks(3, shots=2)
    loop, vectorised = (engine_of(learner, how).meta_gradient([batch]) for how in ("loop", "vmap"))
    for name, g in loop.gradient.items():
        torch.testing.assert_close(vectorised.gradient[name], g, rtol=1e-9, atol=1e-12)
        assert not name.startswith("context") or g.abs().max() > 0
    plain = matching()
    plain.load_state_dict(learner.state_dict(), strict=False)
    assert not torch.allclose(engine_of(plain).evaluate([batch])["loss"], loop.figures["loss"])
