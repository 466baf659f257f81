"""SNAIL: no token sees a later one, queries as last tokens of one sequence, and what either kind of block is for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.algos.snail import SNAIL, Attention, Dense
from metamtl.data.family import Regression
from metamtl.data.task import Examples
from metamtl.errors import UsageError
from tests.algos.suite import WAYS, make, outputs_of

SHOTS, FEATURES = 2, 32
SUPPORT = SHOTS * WAYS


def snail(**changes: object) -> SNAIL:
    learner = make("snail", **{"filters": 8, "horizon": 11, **changes})  # type: ignore[arg-type]
    assert isinstance(learner, SNAIL)
    return learner


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def a_support() -> Examples:
    return Examples(drawn(SUPPORT, 12), torch.arange(WAYS).repeat(SHOTS), WAYS)


def tokens_after(learner: SNAIL, tokens: Tensor) -> Tensor:
    """The outputs of the last block for a whole sequence."""
    for block in learner.blocks:
        tokens = block(tokens)
    return tokens


@pytest.mark.parametrize("place", range(SUPPORT))
def test_no_token_sees_a_later_one(place: int) -> None:
    """Another token changes what comes out at its place and at every later one, and nothing before."""
    learner, tokens = snail(), drawn(SUPPORT, FEATURES + WAYS)
    other = tokens.clone()
    other[place] += 1.0
    changed = (tokens_after(learner, other) != tokens_after(learner, tokens)).any(1)
    assert changed.tolist() == [number >= place for number in range(SUPPORT)]


def test_a_query_is_the_last_token_of_the_sequence() -> None:
    """What is computed on the support set's tokens once equals the whole sequence for each query."""
    learner, queries = snail(), drawn(3, FEATURES, seed=1)
    features, labels = drawn(SUPPORT, FEATURES), F.one_hot(a_support().labels, WAYS).double()
    found = learner.answer(learner.read(features, labels), queries)
    support = torch.cat([features, labels], 1)
    for query, outputs in zip(queries, found, strict=True):
        whole = torch.cat([support, torch.cat([query, torch.zeros(WAYS).double()]).unsqueeze(0)])
        torch.testing.assert_close(outputs, learner.head(tokens_after(learner, whole)[-1]), rtol=1e-12, atol=1e-12)


def test_convolutions_are_those_of_torch() -> None:
    block, tokens = Dense(6, 4, dilation=3).double(), drawn(9, 6)
    kernel = torch.stack([block.earlier.weight, block.now.weight], 2)
    padded = F.pad(tokens.T.unsqueeze(0), (3, 0))
    value, gate = F.conv1d(padded, kernel, block.now.bias, dilation=3).squeeze(0).T.chunk(2, 1)
    torch.testing.assert_close(block(tokens), torch.cat([tokens, value.tanh() * gate.sigmoid()], 1))


def test_attention_is_that_of_torch() -> None:
    block, tokens = Attention(6, 4, 5).double(), drawn(9, 6)
    query, key, value = (layer(tokens).unsqueeze(0) for layer in (block.query, block.key, block.value))
    wanted = F.scaled_dot_product_attention(query, key, value, is_causal=True).squeeze(0)
    torch.testing.assert_close(block(tokens), torch.cat([tokens, wanted], 1))


def test_convolutions_read_an_order_and_one_attention_block_does_not() -> None:
    support, x = a_support(), drawn(4, 12, seed=1)
    backwards = support.map(lambda values: values.flip(0))
    without = snail(keys=[16], values=[16])  # convolutions stand between attention blocks only
    torch.testing.assert_close(outputs_of(without, backwards, x), outputs_of(without, support, x), rtol=1e-9, atol=1e-9)
    learner = snail()
    assert not torch.allclose(outputs_of(learner, backwards, x), outputs_of(learner, support, x), rtol=1e-3)


def test_only_attention_reaches_beyond_the_horizon() -> None:
    """The first example matters to a query five tokens past the convolutions' reach by attention alone."""
    support, x = a_support(), drawn(4, 12, seed=1)
    other = Examples(torch.cat([support.x[:1] + 1.0, support.x[1:]]), support.labels, WAYS)  # type: ignore[index]

    def changes(learner: SNAIL) -> bool:
        return not torch.equal(outputs_of(learner, other, x), outputs_of(learner, support, x))

    learner = snail(keys=[8, 8], values=[8, 8], horizon=6)
    assert changes(learner)
    with torch.no_grad():
        for block in learner.blocks:
            if isinstance(block, Attention):
                block.value.weight.zero_()
                block.value.bias.zero_()
    assert not changes(learner)
    assert changes_within(learner, support, x)


def changes_within(learner: SNAIL, support: Examples, x: Tensor) -> bool:
    """Whether the last example of the support set matters."""
    other = Examples(torch.cat([support.x[:-1], support.x[-1:] + 1.0]), support.labels, WAYS)  # type: ignore[index]
    return not torch.equal(outputs_of(learner, other, x), outputs_of(learner, support, x))


def test_every_token_up_to_the_horizon_is_within_reach_of_the_convolutions() -> None:
    learner = snail(keys=[8, 8], values=[8, 8], horizon=SUPPORT + 1)
    stack = [block for block in learner.blocks if isinstance(block, Dense)]
    assert [block.dilation for block in stack] == [1, 2, 4, 8]
    tokens = drawn(SUPPORT + 1, learner.head.in_features)[:, : stack[0].now.in_features].requires_grad_()
    last = tokens
    for block in stack:
        last = block(last)
    last[-1].sum().backward()  # type: ignore[no-untyped-call]
    assert tokens.grad is not None and (tokens.grad.abs().sum(1) > 0).all()


def test_renaming_the_classes_is_permuting_columns_and_rows() -> None:
    """Labels are columns of every block's input, outputs are rows of the head."""
    new = torch.tensor([3, 0, 4, 1, 2])
    support, x = a_support(), drawn(4, 12, seed=1)
    learner, other = snail(), snail()
    code = slice(FEATURES, FEATURES + WAYS)
    with torch.no_grad():
        for layer in other.modules():
            if isinstance(layer, torch.nn.Linear) and layer.in_features >= FEATURES + WAYS:
                layer.weight[:, code][:, new] = layer.weight[:, code].clone()
        for weight in (other.head.weight, other.head.bias):
            weight[new] = weight.clone()
    renamed = Examples(support.x, new[support.labels], WAYS)
    found = outputs_of(other, renamed, x)[:, new]
    torch.testing.assert_close(found, outputs_of(learner, support, x), rtol=1e-9, atol=1e-9)


def test_sizes_come_in_pairs() -> None:
    with pytest.raises(UsageError, match=r"algo\.keys and algo\.values"):
        snail(keys=[8, 8], values=[8])


def test_it_reads_classes() -> None:
    with pytest.raises(UsageError, match="algo=cnp"):
        make("snail", family=Regression("waves", 1))
