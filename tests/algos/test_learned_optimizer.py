"""The LSTM meta-learner's equations, its preprocessing, and that it learns more than a rate."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from metamtl.algos.learned_optimizer import LearnedOptimizer, Memory, preprocessed
from metamtl.data.task import Task
from tests.algos.suite import Blobs, engine_of, make, outputs_of


def learned_optimizer(**changes: Any) -> LearnedOptimizer:
    learner = make("learned_optimizer", **changes)
    assert isinstance(learner, LearnedOptimizer)
    return learner


def test_preprocessing_gives_magnitude_and_sign() -> None:
    """Andrychowicz et al. (2016), appendix A, with p = 10."""
    x = torch.tensor([1.0, -math.exp(-5), math.exp(-10) / 2, 0.0], dtype=torch.float64).unsqueeze(1)
    wanted = torch.tensor([[0.0, 1.0], [-0.5, -1.0], [-1.0, 0.5], [-1.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(preprocessed(x), wanted)


def test_fixed_gates_are_gradient_descent() -> None:
    """A forget gate of one and an input gate that is a constant leave theta - rate grad."""
    learner, task = learned_optimizer(inner_steps=3), Blobs((12,)).tasks(1).single()
    assert isinstance(task.query.x, torch.Tensor)
    with torch.no_grad():
        for gate, logit in ((learner.forget_gate, 50.0), (learner.input_gate, math.log(0.1 / 0.9))):
            gate.weight.zero_()
            gate.bias.fill_(logit)
    maml = make("maml", inner_lr=0.1, inner_steps=3)
    maml.load_state_dict({k: v for k, v in learner.state_dict().items() if k.startswith("network.")})
    torch.testing.assert_close(
        outputs_of(learner, task.support, task.query.x), outputs_of(maml, task.support, task.query.x)
    )


def test_it_starts_as_gradient_descent_at_its_first_rate() -> None:
    learner, before = learned_optimizer(units=3, initial_lr=0.3), torch.zeros(4, 3, dtype=torch.float64)
    cells, slopes = torch.zeros(4, 1, dtype=torch.float64), torch.ones(4, 1, dtype=torch.float64)
    memory = Memory(before, before, torch.ones_like(cells), torch.zeros_like(cells))
    found = learner.read(slopes, torch.tensor(1.5, dtype=torch.float64), cells, memory)
    torch.testing.assert_close(found.admit, torch.full_like(cells, 0.3), rtol=1e-3, atol=0)


def test_the_first_layer_is_torchs_lstm() -> None:
    learner, generator = learned_optimizer(units=3), torch.Generator().manual_seed(0)
    with torch.no_grad():
        learner.lstm.weight.copy_(torch.randn(12, 7, generator=generator))
    cell = torch.nn.LSTMCell(4, 3).double()
    with torch.no_grad():
        cell.weight_ih.copy_(learner.lstm.weight[:, :4])
        cell.weight_hh.copy_(learner.lstm.weight[:, 4:])
        cell.bias_ih.copy_(learner.lstm.bias)
        cell.bias_hh.zero_()
    slopes, before = (torch.randn(6, n, generator=generator, dtype=torch.float64) for n in (1, 3))
    ones, loss = torch.ones(6, 1, dtype=torch.float64), torch.tensor(1.5, dtype=torch.float64)
    seen = torch.cat([preprocessed(slopes), preprocessed(loss.view(1, 1)).expand(6, -1)], 1)
    output, state = cell(seen, (before, 2 * before))
    found = learner.read(slopes, loss, ones, Memory(before, 2 * before, ones, ones))
    torch.testing.assert_close(found.output, output)
    torch.testing.assert_close(found.cell, state)


@pytest.mark.parametrize("part", ["lstm.weight", "forget_gate.weight", "input_gate.weight", "network.head.weight"])
def test_the_optimiser_and_its_initial_state_are_learned(part: str) -> None:
    found = engine_of(learned_optimizer()).meta_gradient([Blobs((12,)).tasks(2)])
    assert float(found.gradient[part].abs().max()) > 0


def test_what_it_remembers_changes_its_steps() -> None:
    """With the recurrence cut, from the LSTM to itself and from the gates to themselves, it adapts otherwise."""
    learner, task = at_random(learned_optimizer()), Blobs((12,)).tasks(1).single()
    assert isinstance(task.query.x, torch.Tensor)
    whole = outputs_of(learner, task.support, task.query.x)
    with torch.no_grad():
        learner.lstm.weight[:, 4:] = 0
        learner.forget_gate.weight[:, -1] = 0
        learner.input_gate.weight[:, -1] = 0
    assert not torch.allclose(outputs_of(learner, task.support, task.query.x), whole, rtol=1e-2)


def at_random(learner: LearnedOptimizer) -> LearnedOptimizer:
    """The same learner, with an LSTM and gates to which every input matters."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in (learner.lstm, learner.forget_gate, learner.input_gate):
            layer.weight.copy_(0.5 * torch.randn(layer.weight.shape, generator=generator))
    return learner


def query_loss_by_algorithm_1(learner: LearnedOptimizer, task: Task) -> Tensor:
    """The query loss after algorithm 1, written out: slopes and losses are constants, made where the weights are."""
    weights = dict(learner.network.named_parameters())
    theta = torch.cat([weight.flatten() for weight in weights.values()]).unsqueeze(1)
    hidden = cell = torch.zeros(len(theta), learner.units, dtype=torch.float64)
    forget, admit = torch.ones_like(theta), torch.zeros_like(theta)

    def network(values: Tensor, x: Any) -> Tensor:
        parts = torch.split(values.flatten(), [weight.numel() for weight in weights.values()])
        shaped = {n: part.view(w.shape) for part, (n, w) in zip(parts, weights.items(), strict=True)}
        outputs: Tensor = torch.func.functional_call(learner.network, shaped, (x, True))
        return outputs

    for _ in range(learner.inner_steps):
        here = theta.detach().requires_grad_()
        loss = learner.family.loss(network(here, task.support.x), task.support)
        (slope,) = torch.autograd.grad(loss, here)
        told = preprocessed(loss.detach().view(1, 1)).expand(len(theta), -1)
        gates = learner.lstm(torch.cat([preprocessed(slope), told, hidden], 1))
        i, f, g, o = gates.chunk(4, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        forget = learner.forget_gate(torch.cat([hidden, theta, forget], 1)).sigmoid()
        admit = learner.input_gate(torch.cat([hidden, theta, admit], 1)).sigmoid()
        theta = forget * theta - admit * slope
    return learner.family.loss(network(theta, task.query.x), task.query)


def test_it_is_algorithm_1_and_its_meta_gradient_takes_what_the_lstm_is_told_as_given() -> None:
    """Section 3.4: no derivative of the slopes and losses that it reads, which would be one of second order."""
    learner, batch = at_random(learned_optimizer(units=3, inner_steps=3)), Blobs((12,)).tasks(1)
    loss = query_loss_by_algorithm_1(learner, batch.single())
    wanted = dict(
        zip(dict(learner.named_parameters()), torch.autograd.grad(loss, [*learner.parameters()]), strict=True)
    )
    found = engine_of(learner).meta_gradient([batch])
    torch.testing.assert_close(found.figures["loss"][0], loss.detach())
    for name, g in wanted.items():
        torch.testing.assert_close(found.gradient[name], g, rtol=1e-7, atol=1e-10)
