"""The memory with least-recently-used access against a slow, plain one, and its controller against torch's LSTM."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metamtl.algos.memory import LeastRecentlyUsed, least_used


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    lengths = math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


class PlainMemory:
    """Equations 2 to 8 for one sequence, in lists and loops."""

    def __init__(self, module: LeastRecentlyUsed) -> None:
        self.module = module
        self.rows = [[0.0] * module.width for _ in range(module.slots)]
        self.reading = [[0.0] * module.slots for _ in range(module.heads)]
        self.usage = [0.0] * module.slots

    def step(self, hidden: Tensor) -> list[float]:
        m = self.module
        keys, contents = (
            [[math.tanh(float(v)) for v in row] for row in layer(hidden).view(m.heads, m.width)]
            for layer in (m.keys, m.contents)
        )
        strengths = [1 + math.log1p(math.exp(float(v))) for v in m.strengths(hidden)]
        gates = [sigmoid(float(v)) for v in m.gates(hidden)]
        least = sorted(range(m.slots), key=lambda row: self.usage[row])[: m.heads]
        writing = [
            [gates[h] * self.reading[h][row] + (1 - gates[h]) * (row == least[h]) for row in range(m.slots)]
            for h in range(m.heads)
        ]
        for row in least:
            self.rows[row] = [0.0] * m.width
        for row in range(m.slots):
            for h in range(m.heads):
                self.rows[row] = [
                    old + writing[h][row] * new for old, new in zip(self.rows[row], contents[h], strict=True)
                ]
        found: list[float] = []
        for h in range(m.heads):
            powers = [math.exp(strengths[h] * cosine(keys[h], row)) for row in self.rows]
            self.reading[h] = [power / sum(powers) for power in powers]
            found += [
                sum(w * row[i] for w, row in zip(self.reading[h], self.rows, strict=True)) for i in range(m.width)
            ]
        for row in range(m.slots):
            at = sum(self.reading[h][row] + writing[h][row] for h in range(m.heads))
            self.usage[row] = m.decay * self.usage[row] + at
        return found


def test_its_memory_is_the_plain_one() -> None:
    """Over ten steps on seven rows, so that rows are written again; the controller's states are taken as they come."""
    torch.manual_seed(0)
    module = LeastRecentlyUsed(4, controller=8, slots=7, width=3, heads=2, decay=0.9).double()
    for layer in (module.keys, module.contents, module.strengths, module.gates):
        torch.nn.init.normal_(layer.weight)
    plain, inputs = PlainMemory(module), drawn(10, 4)
    memory = module.blank(inputs)
    with torch.no_grad():
        for x in torch.split(inputs, 1):
            memory = module(x, memory)
            found = plain.step(memory.hidden[0])
            close(memory.found[0], found)
            close(memory.reading[0], plain.reading)
            close(memory.usage[0], plain.usage)
            close(memory.rows[0], plain.rows)


def test_the_controller_reads_the_example_and_what_was_found_before_it() -> None:
    """An LSTM of torch's over both, so that what the memory says of one example bears on the next (section 3)."""
    torch.manual_seed(0)
    module = LeastRecentlyUsed(4, controller=8, slots=7, width=3, heads=2, decay=0.9).double()
    plain, gates = nn.LSTMCell(4 + 2 * 3, 8).double(), module.controller.gates
    with torch.no_grad():  # torch orders its gates input, forget, new, output
        keep, write, read, new = torch.cat([gates.weight, gates.bias.unsqueeze(1)], 1).chunk(4)
        ordered = torch.cat([write, keep, new, read])
        plain.weight_ih.copy_(ordered[:, :10])
        plain.weight_hh.copy_(ordered[:, 10:18])
        plain.bias_ih.copy_(ordered[:, 18])
        plain.bias_hh.zero_()
        inputs = drawn(5, 4)
        memory = module.blank(inputs)
        for x in torch.split(inputs, 1):
            before, memory = memory, module(x, memory)
            hidden, cell = plain(torch.cat([x, before.found], 1), (before.hidden, before.cell))
            torch.testing.assert_close(memory.hidden, hidden)
            torch.testing.assert_close(memory.cell, cell)
    assert before.found.abs().max() > 1e-3


def close(found: Tensor, wanted: Sequence[float] | Sequence[Sequence[float]]) -> None:
    # the vectorised cosine keeps a blank row's slope finite by 1e-8 under its root
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-4, atol=1e-6)


def test_the_least_used_rows_come_first_and_ties_are_broken() -> None:
    usage = torch.tensor([[0.5, 0.0, 0.2, 0.0], [0.0, 3.0, 2.0, 1.0]])
    assert least_used(usage, 2).argmax(2).tolist() == [[1, 3], [0, 3]]


def test_what_is_written_to_a_fresh_row_can_be_read() -> None:
    """A head whose gate chooses the least used row, and whose key is what it writes, finds it."""
    module = LeastRecentlyUsed(4, controller=8, slots=20, width=6, heads=1, decay=0.9).double()
    with torch.no_grad():
        module.contents.load_state_dict(module.keys.state_dict())
        for layer, bias in ((module.gates, -30.0), (module.strengths, 1e5)):
            layer.weight.zero_()
            layer.bias.fill_(bias)
        inputs = 10 * drawn(2, 4)
        memory = module(inputs[1:], module(inputs[:1], module.blank(inputs)))
        written = module.keys(memory.hidden).tanh()
        torch.testing.assert_close(memory.found, written, rtol=1e-3, atol=1e-3)
        assert memory.reading[0, 0].argmax() == 1  # the second row, as the first was used before
