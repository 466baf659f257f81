"""Noise is a pure function of (seed, task, pass, layer), the same however the tasks run."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from metamtl.backbones.noise import DropBlock, mix, uniform
from metamtl.data.task import TaskBatch
from tests.engine.made import RESIDUAL, batch_of, engine_of, fomaml, learner_of, protonet
from tests.engine.plain import drop_squares, splitmix

BIG = 2**63 - 25


def dropped(layer: DropBlock, key: int | None, shape: tuple[int, ...] = (2, 3, 8, 8)) -> Tensor:
    layer.noise = None if key is None else torch.tensor(key)
    kept: Tensor = layer(torch.ones(shape, dtype=torch.float64))
    return kept == 0


# ---- the hash ----


@pytest.mark.parametrize("key", [0, 1, 12345, BIG, -7])
def test_mix_is_splitmix_in_signed_integers(key: int) -> None:
    values = [0, 1, 2, 1000, 2**40]
    found = mix(torch.tensor(key), torch.tensor(values))
    wanted = splitmix(np.asarray(key, np.int64).astype(np.uint64), np.array(values, np.uint64)).astype(np.int64)
    assert found.tolist() == wanted.tolist()
    assert [int(mix(torch.tensor(key), value)) for value in values] == found.tolist()


def test_uniform_is_uniform() -> None:
    """Mean, variance, ends, cells and neighbours of 40,000 numbers from five keys; bounds of five deviations."""
    numbers = torch.cat([uniform(mix(torch.tensor(key), 3), torch.Size((8000,)), torch.float64) for key in range(5)])
    count = numbers.numel()
    assert 0 <= numbers.min() < 1e-3 and 1 - 1e-3 < numbers.max() < 1
    assert abs(float(numbers.mean()) - 1 / 2) < 5 * (1 / 12 / count) ** 0.5
    assert abs(float(numbers.var()) - 1 / 12) < 5 * (1 / 180 / count) ** 0.5
    cells = torch.histc(numbers, 100, 0, 1)
    chi_squared = float(((cells - count / 100) ** 2 / (count / 100)).sum())
    assert abs(chi_squared - 99) < 5 * (2 * 99) ** 0.5
    for lag in (1, 8, 8000):  # neighbours in a row, in a column, and the same place under another key
        correlation = torch.corrcoef(torch.stack([numbers[:-lag], numbers[lag:]]))[0, 1]
        assert abs(float(correlation)) < 5 / (count - lag) ** 0.5


def test_numbers_do_not_depend_on_precision() -> None:
    key = torch.tensor(9)
    single, double = (uniform(key, torch.Size((1000,)), dtype) for dtype in (torch.float32, torch.float64))
    assert torch.equal(single.double(), double)


# ---- squares ----


@pytest.mark.parametrize("block", [1, 2, 3, 20])
def test_squares_are_those_of_the_reference(block: int) -> None:
    x = torch.randn(3, 2, 7, 6, dtype=torch.float64)
    layer = DropBlock(0.3, block)
    for key in range(4):
        layer.noise = torch.tensor(key)
        wanted = drop_squares(x, np.asarray(key, np.uint64), 0.3, block)
        torch.testing.assert_close(layer(x), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("block", [2, 3, 5])
def test_what_is_dropped_is_covered_by_whole_squares(block: int) -> None:
    gone = dropped(DropBlock(0.1, block), 4, (20, 3, 9, 9)).reshape(-1, 9, 9)
    assert 0 < gone.double().mean() < 1
    covered = torch.zeros_like(gone)
    for i in range(9 - block + 1):
        for j in range(9 - block + 1):
            whole = gone[:, i : i + block, j : j + block].all(2).all(1)
            covered[whole, i : i + block, j : j + block] = True
    assert torch.equal(covered, gone)


@pytest.mark.parametrize(("rate", "block"), [(0.1, 1), (0.3, 1), (0.1, 3), (0.1, 20)])
def test_expectation_and_rate(rate: float, block: int) -> None:
    """The mean is kept in every pass; the share that is dropped is the rate, less where squares overlap."""
    layer, share, total = DropBlock(rate, block), 0.0, torch.zeros(8, 8, dtype=torch.float64)
    for key in range(40):
        layer.noise = torch.tensor(key)
        y = layer(torch.ones(30, 4, 8, 8, dtype=torch.float64))
        assert float(y.mean()) == pytest.approx(1)
        share += float((y == 0).double().mean()) / 40
        total += y.mean((0, 1)) / 40
    assert 0.85 * rate < share < 1.05 * rate
    if block in (1, 20):  # every pixel is dropped equally often: each keeps its expectation
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=0.05)


def test_nothing_is_dropped_without_noise_or_rate() -> None:
    assert not dropped(DropBlock(0.5, 2), None).any()
    assert not dropped(DropBlock(0.0, 2), 3).any()
    assert dropped(DropBlock(0.5, 2), 3).any()


def test_a_map_that_is_dropped_whole_is_finite() -> None:
    layer = DropBlock(0.99, 3)
    layer.noise = torch.tensor(0)
    y = torch.cat([layer(torch.ones(1, 1, 3, 3)) for _ in range(3)])
    assert torch.isfinite(y).all() and (y == 0).all()


# ---- what it depends on ----


class Listening:
    """The noise keys that every layer is given, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[int] = []
        forward = DropBlock.forward

        def listen(layer: DropBlock, x: Tensor) -> Tensor:
            assert layer.noise is not None
            self.keys.append(int(layer.noise))
            return forward(layer, x)

        monkeypatch.setattr(DropBlock, "forward", listen)

    def of(self, batch: TaskBatch, seed: int = 0) -> list[int]:
        self.keys = []
        learner = learner_of(fomaml(), RESIDUAL, "running")
        engine_of(learner, "loop", noise_seed=seed).meta_gradient([batch])
        return self.keys


def test_every_seed_task_pass_and_layer_has_its_own_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    listening, batch = Listening(monkeypatch), batch_of(RESIDUAL.shape)
    keys = listening.of(batch)
    passes, layers = 3, 2  # two inner steps and the query
    assert len(keys) == len(set(keys)) == len(batch) * passes * layers
    assert listening.of(batch) == keys
    assert set(listening.of(batch, seed=1)).isdisjoint(keys)
    assert listening.of(batch.part(slice(1, 3))) == keys[passes * layers :]  # a task's noise is its own


def test_noise_does_not_depend_on_how_the_tasks_run() -> None:
    learner, batch = learner_of(protonet(), RESIDUAL, "batch"), batch_of(RESIDUAL.shape, tasks=5)
    loop = engine_of(learner, "loop").meta_gradient([batch]).figures["loss"]
    assert not torch.allclose(loop, engine_of(learner, "loop").evaluate([batch])["loss"], rtol=1e-3)
    for examples in (1, 24, 36, 10_000):
        found = engine_of(learner, "vmap", examples).meta_gradient([batch]).figures["loss"]
        torch.testing.assert_close(found, loop, rtol=1e-12, atol=0)
    reversed_order = TaskBatch(**vars(batch.map(lambda tensor: tensor.flip(0))))
    found = engine_of(learner, "vmap").meta_gradient([reversed_order]).figures["loss"]
    torch.testing.assert_close(found.flip(0), loop, rtol=1e-12, atol=0)


def test_consecutive_tasks_do_not_share_noise() -> None:
    """Keys that differ by one give unrelated squares: they agree as often as independent ones do."""
    masks = [dropped(DropBlock(0.3, 1), int(mix(torch.tensor(number), 0)), (1, 1, 40, 40)) for number in range(9)]
    by_chance = 0.3**2 + 0.7**2
    agreements = [float((a == b).double().mean()) for a, b in pairwise(masks)]
    assert abs(sum(agreements) / 8 - by_chance) < 5 * (by_chance * (1 - by_chance) / (8 * 1600)) ** 0.5
