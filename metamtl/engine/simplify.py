"""A recorded list of operators made shorter, with the same results: what autograd and `vmap` put in is taken out.

They reshape to the shape that there is, transpose twice, multiply by one, add to zeros, compute what is the same in
each update, and some of it twice: at the network of the sine waves a third of the operators.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from metamtl.engine.rewrites import SCALED, rewrite

_aten = torch.ops.aten
_LIKE = (_aten.ones_like.default, _aten.zeros_like.default)  # of their argument they read the shape alone
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
            if node.target in SCALED and not isinstance(other, fx.Node) and other == 1:
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
