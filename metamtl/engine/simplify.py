"""A recorded list of operators made shorter, with the same results: what autograd and `vmap` put in is taken out.

They reshape to the shape that there is, transpose twice, multiply by one, add to zeros, compute what is the same in
each update, and some of it twice: at the network of the sine waves a third of the operators.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg
from torch.fx.passes.shape_prop import ShapeProp
from torch.utils._pytree import tree_leaves

Form = Callable[[fx.Graph, fx.Node], fx.Node | None]  # what is shorter than a node, where there is such a thing

_aten = torch.ops.aten
_LIKE = (_aten.ones_like.default, _aten.zeros_like.default)  # of their argument they read the shape alone
_SCALED = (_aten.mul.Scalar, _aten.mul.Tensor, _aten.div.Scalar, _aten.div.Tensor)
# the same operators by bindings that take half as long to arrive at them
_SHORT: dict[Any, Callable[..., Tensor]] = {
    _aten.add.Tensor: torch.add,
    _aten.baddbmm.default: torch.baddbmm,
    _aten.bmm.default: torch.bmm,
    _aten.div.Tensor: torch.div,
    _aten.expand.default: torch.Tensor.expand,
    _aten.mean.dim: torch.mean,
    _aten.mm.default: torch.mm,
    _aten.mul.Scalar: torch.mul,
    _aten.mul.Tensor: torch.mul,
    _aten.neg.default: torch.neg,
    _aten.relu.default: torch.relu,
    _aten.sub.Tensor: torch.sub,
    _aten.sum.dim_IntList: torch.sum,
    _aten.transpose.int: torch.transpose,
    _aten.unsqueeze.default: torch.unsqueeze,
    _aten._unsafe_view.default: torch.Tensor.view,
    _aten.view.default: torch.Tensor.view,
}


def simplify(recorded: fx.GraphModule, inputs: Sequence[Tensor]) -> None:
    """Shorten the list in place; `inputs` are such as it takes.

    A list that writes into tensors or draws random numbers stays as it is.
    """
    if any(not _pure(node) for node in recorded.graph.nodes):
        return
    with torch.no_grad():
        _Shorter(recorded, inputs).merge()
        recorded.graph.eliminate_dead_code()
        rewrite(recorded, inputs)
    for node in recorded.graph.nodes:
        node.target = _SHORT.get(node.target, node.target)
    recorded.recompile()


def _pure(node: fx.Node) -> bool:
    if not isinstance(node.target, torch._ops.OpOverload):
        return True
    return not node.target._schema.is_mutable and torch.Tag.nondeterministic_seeded not in node.target.tags


class _Shorter:
    """One walk through the list, with the numbers of one run of it."""

    def __init__(self, recorded: fx.GraphModule, inputs: Sequence[Tensor]) -> None:
        self.recorded, self.graph = recorded, recorded.graph
        # tensors of their own, laid out plainly: none is another's view, as it may be by chance in one batch
        self.inputs = iter([tensor.clone(memory_format=torch.contiguous_format) for tensor in inputs])
        self.values: dict[fx.Node, Any] = {}
        self.constants: dict[fx.Node, Tensor] = {}  # the same in each update

    def merge(self) -> None:
        """Put for each node an earlier one that has its numbers, where there is one."""
        known: dict[Hashable, fx.Node] = {}  # by where its numbers lie, and by how they were computed
        for node in list(self.graph.nodes):
            if node.op == "output":
                continue
            self.values[node] = value = self._value(node)
            if not isinstance(value, Tensor):
                continue
            names = [_place(value)]
            if node.op == "call_function":
                names.append((node.target, str(node.args), str(node.kwargs)))
                earlier = next((known[name] for name in names if name in known), None) or self._operand(node)
                if earlier is not None:
                    node.replace_all_uses_with(earlier)
                    self.graph.erase_node(node)
                    continue
                if node.target in _LIKE or all(each in self.constants for each in node.all_input_nodes):
                    self.constants[node] = value
            known.update(dict.fromkeys(names, node))
        self._keep_constants()

    def _value(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return next(self.inputs)
        if node.op == "get_attr":
            return getattr(self.recorded, str(node.target))
        assert callable(node.target)
        given = map_arg((node.args, node.kwargs), self.values.__getitem__)
        return node.target(*given[0], **given[1])

    def _operand(self, node: fx.Node) -> fx.Node | None:
        """The one that a product by one or a sum with zeros leaves as it is."""
        if len(node.args) != 2 or node.kwargs:
            return None
        for one, other in (node.args, node.args[::-1]):
            if not isinstance(one, fx.Node) or not _alike(self.values[one], self.values[node]):
                continue
            if node.target in _SCALED and not isinstance(other, fx.Node) and other == 1:
                return one
            if node.target is _aten.add.Tensor and isinstance(other, fx.Node) and self._zeros(other):
                return one
        return None

    def _zeros(self, node: fx.Node) -> bool:
        return node in self.constants and not self.constants[node].any()

    def _keep_constants(self) -> None:
        for number, (node, value) in enumerate(self.constants.items()):
            if all(user in self.constants for user in node.users):
                continue
            name = f"_constant{number}"
            self.recorded.register_buffer(name, value)
            with self.graph.inserting_before(node):
                node.replace_all_uses_with(self.graph.get_attr(name))


def _place(tensor: Tensor) -> Hashable:
    """Two tensors of one place are the same numbers."""
    start = tensor.untyped_storage().data_ptr(), tensor.storage_offset()
    return start, tuple(tensor.shape), tensor.stride(), tensor.dtype


def _alike(one: Any, other: Tensor) -> bool:
    return isinstance(one, Tensor) and one.shape == other.shape and one.dtype == other.dtype


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
    negative = node.args[0] if node.target in _SCALED else None
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
