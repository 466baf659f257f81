"""What a frozen encoder made of an example, kept for when the example comes again: in other tasks, updates and tests.

Its outputs depend on nothing but the example, and an encoder of texts takes longer than all that follows it. Examples
are encoded in blocks of one size, beside others that are cut to the same length, so that bits do not depend on which
these are or which have come before: a run that is resumed, or shares its tasks out otherwise, meets the same numbers.
The kept rows are nobody's state: copies of a module share them, and none are written anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C import _functorch as functorch
from torch._ops import _len_torch_dispatch_stack_pre_dispatch

from metamtl.backbones.vectorised import OfTasks

BLOCK = 8  # examples encoded at once
LIMIT = 2**30  # bytes kept, of outputs and of what keeping one takes
A_ROW = 800
TABLES = 2  # kept for encoders of other weights, as those of a run and of its teacher
LENGTHS = 8  # padding is cut down to a multiple of this
Encode = Callable[[Tensor], Tensor]

_ANEW: ContextVar[bool] = ContextVar("metamtl_anew", default=False)


@contextmanager
def anew() -> Iterator[None]:
    """While every example is encoded as if it came for the first time, as where that is what is timed."""
    token = _ANEW.set(True)
    try:
        yield
    finally:
        _ANEW.reset(token)


class Table(NamedTuple):
    """Outputs by example, and the very weights that made them, whose addresses nothing else takes meanwhile."""

    weights: list[Tensor]
    rows: dict[bytes, Tensor]


class Recall:
    """Outputs by example, of an encoder with weights that do not change; those of other weights are not its.

    A change is seen where torch counts it: by operators and by new tensors, not in place of `.data`.
    """

    def __init__(self) -> None:
        self._tables: dict[object, Table] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Recall:
        return self

    def __reduce__(self) -> tuple[type[Recall], tuple[()]]:
        return Recall, ()

    def serves(self, x: Tensor, encoder: nn.Module) -> bool:
        """Whether outputs of x may be looked up: on a processor, and where nobody records or counts operators."""
        if x.device.type != "cpu" or torch.is_autocast_enabled("cpu") or _ANEW.get():
            return False
        recorded = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
        modes = torch._C._len_torch_dispatch_stack() + _len_torch_dispatch_stack_pre_dispatch()  # type: ignore[no-untyped-call]
        return not (recorded or modes or any(map(functorch.is_functorch_wrapped_tensor, weights_of(encoder))))

    def outputs(self, x: Tensor, encode: Encode, encoder: nn.Module) -> Tensor:
        """`encode` of examples x [N, L], zeros at their ends being padding; new ones alone are computed, and no graph.

        Outputs that have the axis L are zero where the padding was cut.
        """
        found: Tensor = _LookUp.of(x[None], self, encode, encoder)
        return found.squeeze(0)

    def looked_up(self, x: Tensor, encode: Encode, encoder: nn.Module) -> Tensor:
        """The same outside transforms."""
        rows = self._table(encoder).rows  # looked for once: another thread may put one of other weights in its place
        keys = [row.tobytes() for row in x.numpy()]
        found = {key: rows[key] for key in dict.fromkeys(keys) if key in rows}
        new = {key: number for number, key in enumerate(keys) if key not in found}
        for some, length in _blocks(x, list(new.values())):
            with torch.no_grad():
                made = encode(x[some + some[:1] * (BLOCK - len(some)), :length])[: len(some)]
            if made.dim() == 3:
                made = F.pad(made, (0, 0, 0, x.shape[1] - length))
            found |= {keys[number]: row.clone() for number, row in zip(some, made, strict=True)}
            if (len(rows) + len(some)) * (made[0].nbytes + x[0].nbytes + A_ROW) <= LIMIT:
                rows |= {keys[number]: found[keys[number]] for number in some}
        return torch.stack([found[key] for key in keys])

    def _table(self, encoder: nn.Module) -> Table:
        weights = list(weights_of(encoder))
        state = tuple((weight.data_ptr(), weight._version, weight.dtype) for weight in weights)
        tables = self._tables
        if state not in tables:  # the newest ones stay
            self._tables = tables = {**dict(list(tables.items())[-TABLES + 1 :]), state: Table(weights, {})}
        return tables[state]


def weights_of(encoder: nn.Module) -> Iterator[Tensor]:
    """Its parameters, and its buffers, which a teacher's weights are."""
    return chain(encoder.parameters(), encoder.buffers())


def _blocks(x: Tensor, numbers: list[int]) -> Iterator[tuple[list[int], int]]:
    """Rows of x in blocks of one length, each with it."""
    ends = (x > 0).long().mul(torch.arange(1, x.shape[1] + 1)).amax(1)
    lengths = ((ends + LENGTHS - 1) // LENGTHS * LENGTHS).clamp(LENGTHS, x.shape[1]).tolist()
    for length in sorted({lengths[number] for number in numbers}):
        alike = [number for number in numbers if lengths[number] == length]
        yield from ((alike[start : start + BLOCK], length) for start in range(0, len(alike), BLOCK))


class _LookUp(OfTasks):
    """Outputs [T, N, ...] of examples [T, N, L] of all tasks at once."""

    @staticmethod
    def forward(x: Tensor, recall: Recall, encode: Encode, encoder: nn.Module) -> Tensor:
        """One row an example."""
        rows = recall.looked_up(x.flatten(0, 1), encode, encoder)
        return rows.view(*x.shape[:2], *rows.shape[1:])
