"""How many tasks run at once follows the size of their inputs, and the number of workers."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch

from metamtl.engine.plan import EXAMPLES_A_CHUNK, VECTORS, Plan, resumed_plan
from tests.engine.made import QUERIES, SHOTS, WAYS, batch_of

EXAMPLES = WAYS * (SHOTS + QUERIES)
FITTING = EXAMPLES_A_CHUNK // EXAMPLES  # tasks of 28x28 images


@pytest.mark.parametrize(
    ("shape", "how", "largest"),
    [
        ((1, 28, 28), "vmap", FITTING),
        ((1, 8, 8), "vmap", FITTING),
        ((1, 56, 28), "vmap", FITTING // 2),
        ((3, 84, 84), "vmap", 1),
        ((1, 28, 28), "loop", 1),
        ((5,), "vmap", EXAMPLES_A_CHUNK // (EXAMPLES // VECTORS)),
    ],
)
def test_larger_inputs_take_smaller_chunks(shape: tuple[int, ...], how: Literal["loop", "vmap"], largest: int) -> None:
    batch = batch_of(shape, tasks=FITTING + 2, dtype=torch.float32)
    assert Plan(how, EXAMPLES_A_CHUNK, 1, "full").chunk(batch) == largest


@pytest.mark.parametrize(
    ("tasks", "workers", "expected"),
    [(4, 2, 2), (5, 2, 3), (1, 2, 1), (FITTING, 2, -(-FITTING // 2)), (2 * FITTING, 2, FITTING), (9, 3, 3), (10, 4, 3)],
)
def test_workers_get_chunks_of_nearly_one_size(tasks: int, workers: int, expected: int) -> None:
    batch = batch_of((1, 4, 4), tasks=tasks, dtype=torch.float32)
    assert Plan("vmap", EXAMPLES_A_CHUNK, workers, "full").chunk(batch) == expected


def test_vectors_take_one_worker() -> None:
    batch = batch_of((5,), tasks=6, dtype=torch.float32)
    assert Plan("vmap", EXAMPLES_A_CHUNK, 2, "full").chunk(batch) >= 6


def test_a_run_goes_on_without_the_gpu_that_it_began_on() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    usual = Plan("vmap", EXAMPLES_A_CHUNK, 2, "full")
    on_a_gpu = Plan("vmap", 5000, 1, "flat", "try")
    assert resumed_plan(on_a_gpu, usual, cpu) == Plan("vmap", EXAMPLES_A_CHUNK, 1, "flat")
    assert resumed_plan(on_a_gpu, Plan("vmap", 9000, 1, "full", "try"), gpu) == on_a_gpu
    assert resumed_plan(Plan("loop", 7, 3, "full"), usual, cpu) == Plan("loop", 7, 3, "full")
    traced = Plan("vmap", 7, 3, "full", "traces", "processes")
    assert resumed_plan(traced, replace(usual, pool="auto"), cpu) == replace(
        traced, pool="auto"
    )  # no bit depends on it
    assert resumed_plan(traced, on_a_gpu, gpu).graphs == "never"
