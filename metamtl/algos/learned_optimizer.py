"""The LSTM meta-learner: an optimiser that is itself learned.

Ravi & Larochelle (2017), Optimization as a Model for Few-Shot Learning, ICLR. A weight of the network is the cell
state of an LSTM: theta_t = f_t theta_(t-1) - i_t grad_t (equations 2 and 3), its forget and input gates the outputs
of a network that all weights share. An LSTM first reads each weight's gradient and the loss, preprocessed as by
Andrychowicz et al. (2016), Learning to learn by gradient descent by gradient descent, NeurIPS, appendix A. The
initial weights are the learned initial cell state, and gradients are constants of the outer loss (section 3.4).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from metamtl.algos.descent import InnerLoop
from metamtl.engine.inner import Weights, gradient
from metamtl.registry import register

_P = 10.0  # of the preprocessing: magnitudes below e^-p are given as they are
_FORGET_BIAS = 5.0  # a gate that starts open, so that the first steps are gradient descent (section 3.5)


class Memory(NamedTuple):
    """What the optimiser remembers of every weight: the LSTM's output and cell [P, H], and its gates [P, 1]."""

    output: Tensor
    cell: Tensor
    forget: Tensor
    admit: Tensor


@register("algo", "learned_optimizer")
class LearnedOptimizer(InnerLoop):
    """Inner steps by an LSTM of so many `units` over each of the network's P weights.

    `initial_lr` is what the input gate gives before it has learnt, the rate of plain gradient descent.
    """

    def __init__(self, *, units: int, initial_lr: float, **options: Any) -> None:
        super().__init__(order="first", adapt="all", **options)
        self.units = units
        self.lstm = nn.Linear(4 + units, 4 * units)
        self.forget_gate, self.input_gate = nn.Linear(units + 2, 1), nn.Linear(units + 2, 1)
        input_bias = math.log(initial_lr / (1 - initial_lr))
        for layer, bias in ((self.lstm, 0.0), (self.forget_gate, _FORGET_BIAS), (self.input_gate, input_bias)):
            nn.init.uniform_(layer.weight, -0.01, 0.01)
            nn.init.constant_(layer.bias, bias)

    def descend(self, weights: Weights, loss: Callable[[Weights], Tensor]) -> Weights:
        """The LSTM's steps from the initial weights (algorithm 1, lines 6 to 13)."""
        cells = torch.cat([weight.flatten() for weight in weights.values()]).unsqueeze(1)
        blank = torch.zeros(len(cells), self.units, dtype=cells.dtype, device=cells.device)
        memory = Memory(blank, blank, torch.ones_like(cells), torch.zeros_like(cells))
        for _ in range(self.steps):
            slopes = torch.cat([g.flatten() for g in gradient(loss, weights, "first").values()]).unsqueeze(1)
            with torch.no_grad():
                value = loss(weights).to(slopes.dtype)
            memory = self.read(slopes, value, cells, memory)
            cells = memory.forget * cells - memory.admit * slopes  # equation 2
            weights = _split(cells, weights)
        return weights

    def read(self, slopes: Tensor, loss: Tensor, cells: Tensor, memory: Memory) -> Memory:
        """The LSTM's step, then the gates from its output, the weights and their own last values (section 3.2)."""
        seen = torch.cat([preprocessed(slopes), preprocessed(loss.reshape(1, 1)).expand(len(slopes), -1)], 1)
        admit, forget, candidate, show = self.lstm(torch.cat([seen, memory.output], 1)).chunk(4, 1)
        cell = forget.sigmoid() * memory.cell + admit.sigmoid() * candidate.tanh()
        output = show.sigmoid() * cell.tanh()
        return Memory(
            output,
            cell,
            self.forget_gate(torch.cat([output, cells, memory.forget], 1)).sigmoid(),
            self.input_gate(torch.cat([output, cells, memory.admit], 1)).sigmoid(),
        )


def preprocessed(x: Tensor) -> Tensor:
    """(log|x| / p, sign x) where |x| >= e^-p, else (-1, e^p x): x [N, 1] as magnitudes and signs [N, 2]."""
    large = x.abs() >= math.exp(-_P)
    magnitude = torch.where(large, x.abs().clamp(min=math.exp(-_P)).log() / _P, -1.0)
    return torch.cat([magnitude, torch.where(large, x.sign(), math.exp(_P) * x)], 1)


def _split(values: Tensor, like: Weights) -> Weights:
    """Values [P, 1] as weights of the names and shapes of `like`."""
    parts = torch.split(values.squeeze(1), [weight.numel() for weight in like.values()])
    return {name: part.view(weight.shape) for part, (name, weight) in zip(parts, like.items(), strict=True)}
