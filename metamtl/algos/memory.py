"""An external memory with least-recently-used access, and the LSTM that controls it.

Santoro et al. (2016), Meta-Learning with Memory-Augmented Neural Networks, ICML, section 3: reading by cosine
(equations 2 to 4), usage (5), the least used rows (6), write weights (7) and writing (8). Three things the paper leaves
open are settled here. Each head has a least used row of its own, and all of these are cleared before they are written.
What a head writes is a vector of its own beside its key, and it writes before it reads, so that the last example can be
found. The cosine is sharpened by a learned strength, as in Graves, Wayne & Danihelka (2014), Neural Turing Machines,
equation 5; without one, attention over a hundred rows stays nearly flat.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.algos.full_context import LSTMCell

_FIRST_STRENGTH = 5.0


class Memory(NamedTuple):
    """Of N sequences at one time, with R heads on M rows of W numbers."""

    hidden: Tensor  # [N, H], the controller's
    cell: Tensor  # [N, H]
    rows: Tensor  # [N, M, W]
    reading: Tensor  # [N, R, M], the weights of the last reading
    usage: Tensor  # [N, M]
    found: Tensor  # [N, R W], what was read


class LeastRecentlyUsed(nn.Module):
    """One step of the controller and its memory; `outputs` is the size of its hidden state and reading together."""

    def __init__(self, inputs: int, controller: int, slots: int, width: int, heads: int, decay: float) -> None:
        super().__init__()
        self.slots, self.width, self.heads, self.decay = slots, width, heads, decay
        self.controller = LSTMCell(inputs + heads * width, controller, controller)
        self.keys, self.contents = nn.Linear(controller, heads * width), nn.Linear(controller, heads * width)
        self.strengths, self.gates = nn.Linear(controller, heads), nn.Linear(controller, heads)
        self.outputs = controller + heads * width
        self._start_alike()

    def _start_alike(self) -> None:
        """An example is written as what it would be looked up by, and found well enough for a slope to start from."""
        nn.init.zeros_(self.keys.bias)
        self.contents.load_state_dict(self.keys.state_dict())
        nn.init.constant_(self.strengths.bias, _FIRST_STRENGTH)

    def blank(self, like: Tensor) -> Memory:
        """The memory [1, ...] before the first example."""
        hidden, rows = like.new_zeros(1, self.strengths.in_features), like.new_zeros(1, self.slots, self.width)
        reading = like.new_zeros(1, self.heads, self.slots)
        found = like.new_zeros(1, self.heads * self.width)
        return Memory(hidden, hidden, rows, reading, rows.sum(2), found)

    def forward(self, x: Tensor, before: Memory) -> Memory:
        """The memory after an example [N, inputs] of each sequence."""
        hidden, cell = self.controller(torch.cat([x, before.found], 1), before.hidden, before.cell)
        keys, contents = (self._of_heads(layer(hidden)) for layer in (self.keys, self.contents))
        gates = self.gates(hidden).sigmoid().unsqueeze(2)
        least = least_used(before.usage, self.heads)
        writing = gates * before.reading + (1 - gates) * least  # equation 7
        rows = before.rows * (1 - least.sum(1)).unsqueeze(2)
        rows = rows + writing.transpose(1, 2) @ contents  # equation 8
        cosine = normalised(keys) @ normalised(rows).transpose(1, 2)  # equation 2
        reading = ((1 + F.softplus(self.strengths(hidden))).unsqueeze(2) * cosine).softmax(2)  # equation 3
        usage = self.decay * before.usage + reading.sum(1) + writing.sum(1)  # equation 5
        return Memory(hidden, cell, rows, reading, usage, (reading @ rows).flatten(1))  # equation 4

    def _of_heads(self, values: Tensor) -> Tensor:
        return values.view(-1, self.heads, self.width).tanh()


def least_used(usage: Tensor, heads: int) -> Tensor:
    """Weights [N, heads, M]: head j's is one at the row of j-th least usage [N, M], the first of equal ones."""
    found = []
    for _ in range(heads):  # not sorted: ONNX has no stable sort
        one = F.one_hot(usage.argmin(1), usage.shape[1])
        usage = usage.masked_fill(one > 0, torch.inf)
        found.append(one.to(usage.dtype))
    return torch.stack(found, 1)  # equation 6


def normalised(vectors: Tensor) -> Tensor:
    """Vectors [..., W] of length one; blank rows stay blank, and their slope is finite."""
    return vectors * torch.rsqrt(vectors.square().sum(-1, keepdim=True) + 1e-8)
