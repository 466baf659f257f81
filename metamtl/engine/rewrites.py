"""Operators of a recorded list in forms that take less time, each only where the list's results keep their bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.passes.shape_prop import ShapeProp
from torch.utils._pytree import tree_leaves

Form = Callable[[fx.Graph, fx.Node], fx.Node | None]  # what is shorter than a node, where there is such a thing

_aten = torch.ops.aten
SCALED = (_aten.mul.Scalar, _aten.mul.Tensor, _aten.div.Scalar, _aten.div.Tensor)


def rewrite(recorded: fx.GraphModule, inputs: Sequence[Tensor]) -> None:
    """Put for nodes others that have their numbers and take less time.

    What lies in another order may be added up in another one, by kernels that choose it themselves: a node is replaced
    only where the list's results keep their bits.
    """
    expected = _run(recorded, inputs)
    for form in _FORMS:
        ShapeProp(recorded).propagate(*inputs)
        for node in list(recorded.graph.nodes):
            _put(recorded, inputs, expected, node, form)
        recorded.graph.eliminate_dead_code()


def _put(recorded: fx.GraphModule, inputs: Sequence[Tensor], expected: list[Tensor], node: fx.Node, form: Form) -> None:
    with recorded.graph.inserting_before(node):
        shorter = form(recorded.graph, node)
    if shorter is None:
        return
    before = [(user, user.args, user.kwargs) for user in node.users]  # some may take the shorter one already
    node.replace_all_uses_with(shorter)
    results: list[Tensor] = []
    with suppress(RuntimeError):  # a view that the other order of numbers does not allow
        results = _run(recorded, inputs)
    if len(results) != len(expected) or not all(map(torch.equal, results, expected)):
        for user, args, kwargs in before:
            user.args, user.kwargs = args, kwargs


def _turned(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """(a b)^T as b^T a^T, whose numbers lie in their order: passes over a transposed matrix are slow."""
    product = node.args[0] if _transposes(node) else None
    if not isinstance(product, fx.Node):
        return None
    if _transposes(product):
        return product.all_input_nodes[0]
    if product.target is not _aten.bmm.default or len(product.users) > 1 or _shape(product)[1] == 1:
        return None
    return graph.call_function(_aten.bmm.default, _turned_factors(graph, product))


def _row(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """A transposed matrix by a column as the row's product by the matrix as it lies."""
    if node.target is not _aten.bmm.default or not _transposes(node.args[0]) or _shape(node)[2] != 1:
        return None
    row = graph.call_function(_aten.bmm.default, _turned_factors(graph, node))
    return graph.call_function(_aten.transpose.int, (row, 1, 2))


def _outer(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """A column by a row, which adds nothing up, as a product of each number by each."""
    if node.target is not _aten.bmm.default or _shape(node.all_input_nodes[0])[2] != 1:
        return None
    return graph.call_function(_aten.mul.Tensor, node.args)


def _added(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """A product and what is added to it in one pass."""
    if node.target is not _aten.add.Tensor or node.kwargs or len(node.all_input_nodes) != 2:
        return None
    for other, product in (node.all_input_nodes, node.all_input_nodes[::-1]):
        if product.target is _aten.bmm.default and len(product.users) == 1 and _shape(product) == _shape(node):
            return graph.call_function(_aten.baddbmm.default, (other, *product.args))
    return None


def _summed(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """The sum of all tasks' transposed matrices as the transpose of their sum."""
    matrices = node.args[0] if node.target is _aten.sum.dim_IntList and node.args[1:] == ([0], True) else None
    if not isinstance(matrices, fx.Node) or not _transposes(matrices):
        return None
    total = graph.call_function(_aten.sum.dim_IntList, (matrices.args[0], [0], True))
    return graph.call_function(_aten.transpose.int, (total, 1, 2))


def _scaled(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """-a times a number as a times its negative."""
    negative = node.args[0] if node.target in SCALED else None
    if not isinstance(negative, fx.Node) or negative.target is not _aten.neg.default:
        return None
    assert callable(node.target)
    number = node.args[1]
    return graph.call_function(node.target, (negative.args[0], -number)) if isinstance(number, float) else None


_FORMS: tuple[Form, ...] = (_turned, _row, _outer, _added, _summed, _scaled, _turned)  # others leave transposes


def _run(recorded: fx.GraphModule, inputs: Sequence[Tensor]) -> list[Tensor]:
    return tree_leaves(fx.Interpreter(recorded, garbage_collect_values=False).run(*inputs))


def _transposes(node: Any) -> bool:
    """Whether it is the transposition of a batch of matrices."""
    return node.target is _aten.transpose.int and sorted(axis % 3 for axis in node.args[1:]) == [1, 2]


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape)


def _turned_factors(graph: fx.Graph, product: fx.Node) -> tuple[fx.Node, ...]:
    return tuple(_transposed(graph, factor) for factor in product.args[::-1])


def _transposed(graph: fx.Graph, factor: Any) -> fx.Node:
    if _transposes(factor):
        inner: fx.Node = factor.args[0]
        return inner
    return graph.call_function(_aten.transpose.int, (factor, 1, 2))
