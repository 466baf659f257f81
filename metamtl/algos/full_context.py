"""Full-context embeddings: examples are embedded in the light of the whole support set.

Vinyals et al. (2016), Matching Networks for One Shot Learning, NeurIPS, appendix A.1 (queries: an LSTM that reads the
support set by attention, equations 3 to 6) and A.2 (support: a bidirectional LSTM, in the order of the support set).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LSTMCell(nn.Module):
    """A long short-term memory cell (Hochreiter & Schmidhuber 1997), in operations that `torch.func.vmap` knows."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.gates = nn.Linear(inputs + hidden, 4 * outputs)

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """The next hidden state and cell [N, outputs] from x [N, inputs], hidden [N, hidden] and cell [N, outputs]."""
        keep, write, read, new = self.gates(torch.cat([x, hidden], 1)).chunk(4, 1)
        cell = keep.sigmoid() * cell + write.sigmoid() * new.tanh()
        return read.sigmoid() * cell.tanh(), cell


class FullContext(nn.Module):
    """The embeddings f of queries and g of the support set from features of D dimensions."""

    def __init__(self, features: int, read_steps: int) -> None:
        super().__init__()
        self.read_steps = read_steps
        self.forwards, self.backwards = (LSTMCell(features, features, features) for _ in range(2))
        self.reader = LSTMCell(features, 2 * features, features)

    def support(self, features: Tensor) -> Tensor:
        """G [S, D] of the support set's features [S, D]: both LSTMs' states added to them."""
        ahead = _states(self.forwards, features)
        return ahead + _states(self.backwards, features.flip(0)).flip(0) + features

    def queries(self, features: Tensor, support: Tensor) -> Tensor:
        """F [Q, D] of the queries' features [Q, D], after `read_steps` readings of the embedded support set [S, D]."""
        hidden, cell = features, torch.zeros_like(features)
        for _ in range(self.read_steps):
            read = (hidden @ support.T).softmax(1) @ support  # equations 5 and 6
            state, cell = self.reader(features, torch.cat([hidden, read], 1), cell)  # equation 3
            hidden = state + features  # equation 4
        return hidden


def _states(cell: LSTMCell, sequence: Tensor) -> Tensor:
    """The hidden states [S, D] of a sequence [S, D], one after another."""
    hidden = memory = torch.zeros_like(sequence[:1])
    states = []
    for x in torch.split(sequence, 1):
        hidden, memory = cell(x, hidden, memory)
        states.append(hidden)
    return torch.cat(states)
