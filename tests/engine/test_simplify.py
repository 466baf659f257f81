"""Recorded lists of operators made shorter: what may go, what must stay, and the bits of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves

from metamtl.engine.rewrites import rewrite
from metamtl.engine.simplify import simplify

Arithmetic = Callable[..., object]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def recorded(arithmetic: Arithmetic, *inputs: Tensor) -> fx.GraphModule:
    """The list, shortened; its results for other inputs have been held against the arithmetic's own."""
    listed = make_fx(arithmetic)(*inputs)
    simplify(listed, inputs)
    for number in (1, 2):
        others = [drawn(*tensor.shape, seed=10 * number + place) for place, tensor in enumerate(inputs)]
        ours, theirs = tree_leaves(listed(*others)), tree_leaves(arithmetic(*others))
        assert len(ours) == len(theirs) > 0
        assert all(map(torch.equal, ours, theirs))
    return listed


def operators(listed: fx.GraphModule) -> Counter[str]:
    names = (getattr(node.target, "__name__", "") for node in listed.graph.nodes if node.op == "call_function")
    return Counter(name.split(".")[0] for name in names)


@pytest.mark.parametrize(
    "arithmetic",
    [
        lambda x: (x.view(3, 4).exp(),),
        lambda x: (x.detach().exp(),),
        lambda x: (x.mT.mT.exp(),),
        lambda x: (x.view(12).view(3, 4).exp(),),
        lambda x: ((x * 1).exp(),),
        lambda x: ((x / 1.0).exp(),),
        lambda x: ((x + torch.zeros_like(x)).exp(),),
        lambda x: ((torch.zeros(3, 4) + x).exp(),),
    ],
)
def test_what_changes_nothing_goes(arithmetic: Arithmetic) -> None:
    assert operators(recorded(arithmetic, drawn(3, 4))) == Counter({"exp": 1})


def test_what_is_computed_twice_is_computed_once() -> None:
    listed = recorded(lambda x, y: x.view(12).exp() + x.view(12).exp() * y.view(12).exp(), drawn(3, 4), drawn(3, 4))
    assert operators(listed)["exp"] == 2


def test_what_is_the_same_in_each_update_is_kept() -> None:
    listed = recorded(lambda x: x * torch.ones_like(x).expand(3, 4).div(12).exp(), drawn(3, 4))
    assert operators(listed) == Counter({"mul": 1})


@pytest.mark.parametrize(
    "arithmetic",
    [
        lambda x: x + torch.ones_like(x),
        lambda x: x * 2,
        lambda x: 1 / x,
        lambda x: x[:1] + torch.zeros_like(x),  # of another shape
        lambda x: x.sum() * torch.ones(3, 4),
    ],
)
def test_what_changes_something_stays(arithmetic: Arithmetic) -> None:
    recorded(arithmetic, drawn(3, 4))


def test_inputs_that_were_one_tensor_when_it_was_recorded_are_two() -> None:
    same = drawn(3, 4)
    recorded(lambda x, y: x.view(12) - 2 * y.view(12), same, same.detach())


def test_inputs_that_were_one_number_repeated_are_transposed() -> None:
    recorded(lambda x: x.mT - 2 * x, drawn(1, 1).expand(3, 3))


def test_weights_are_read_where_they_are() -> None:
    weight = drawn(3, 4)
    listed = make_fx(lambda x: (weight * 1).view(3, 4) * x)(drawn(3, 4))
    simplify(listed, [drawn(3, 4)])
    before = listed(torch.ones(3, 4)).clone()
    weight.mul_(2)
    assert torch.equal(listed(torch.ones(3, 4)), 2 * before)


def test_a_transposed_product_is_computed_transposed() -> None:
    listed = recorded(lambda x, y: (x @ y).mT * 2, drawn(2, 3, 4), drawn(2, 4, 5))
    products = [node for node in listed.graph.nodes if node.target is torch.bmm]
    assert len(products) == 1 and all(factor.target is torch.transpose for factor in products[0].args)
    assert not any(user.target is torch.transpose for user in products[0].users)


def test_a_product_that_would_be_other_bits_is_not_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "equal", lambda one, other: False)
    listed = make_fx(lambda x, y: (x @ y).mT * 2)(*(inputs := (drawn(2, 3, 4), drawn(2, 4, 5))))
    simplify(listed, inputs)
    (product,) = (node for node in listed.graph.nodes if node.target is torch.bmm)
    assert [user.target for user in product.users] == [torch.transpose]


def test_transposed_matrices_are_summed_as_they_lie() -> None:
    listed = recorded(lambda x: x.exp().mT.sum(0, keepdim=True), drawn(25, 40, 40))
    (total,) = (node for node in listed.graph.nodes if node.target is torch.sum)
    assert [user.target for user in total.users] == [torch.transpose]


def test_a_transposed_matrix_by_a_column_is_a_row_by_the_matrix() -> None:
    listed = recorded(lambda x, y: x.exp().mT @ y, drawn(25, 10, 40), drawn(25, 10, 1))
    (product,) = (node for node in listed.graph.nodes if node.target is torch.bmm)
    assert [factor.name.split("_")[0] for factor in product.args] == ["transpose", "exp"]


def test_a_column_by_a_row_is_no_sum() -> None:
    assert operators(recorded(lambda x, y: x @ y, drawn(25, 10, 1), drawn(25, 1, 40))) == Counter({"mul": 1})


@pytest.mark.parametrize("added", [lambda b, xy: b + xy, lambda b, xy: xy + b])
def test_a_bias_is_added_with_the_product(added: Callable[[Tensor, Tensor], Tensor]) -> None:
    listed = recorded(lambda b, x, y: added(b, x @ y), drawn(25, 1, 40), drawn(25, 10, 40), drawn(25, 40, 40))
    assert operators(listed) == Counter({"baddbmm": 1})


def test_what_makes_a_product_wider_is_added_after_it() -> None:
    listed = recorded(lambda b, x, y: b + x @ y, drawn(25, 10, 40), drawn(25, 1, 40), drawn(25, 40, 40))
    assert operators(listed) == Counter({"bmm": 1, "add": 1})


def test_what_is_not_put_leaves_its_users_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    def arithmetic(x: Tensor) -> Tensor:
        e = x.exp()
        return e - e.mT.mT  # a user of the shorter one beside the longer

    listed = make_fx(arithmetic)(inputs := drawn(2, 3, 4))
    before = [str(node.args) for node in listed.graph.nodes]
    monkeypatch.setattr(torch, "equal", lambda one, other: False)
    rewrite(listed, [inputs])
    assert [str(node.args) for node in listed.graph.nodes] == before


def test_a_scaled_negative_takes_one_pass() -> None:
    listed = recorded(lambda x: -x * 0.3 + x.neg() / 0.7, drawn(3, 4))
    assert operators(listed) == Counter({"mul": 1, "div": 1, "add": 1})


@pytest.mark.parametrize("arithmetic", [lambda x: x.exp().add_(1), lambda x: x * torch.rand_like(x)])
def test_lists_that_write_or_draw_stay_as_they_are(arithmetic: Arithmetic) -> None:
    listed = make_fx(lambda x: (arithmetic(x), x.view(3, 4).view(3, 4)))(drawn(3, 4))
    before = [node.target for node in listed.graph.nodes]
    simplify(listed, [drawn(3, 4)])
    assert [node.target for node in listed.graph.nodes] == before
