"""Threads that run chunks: the same bits every time, and what a thread must be told."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metamtl.engine.network import Network
from metamtl.engine.workers import Workers, one_thread, twin
from tests.engine.made import DENSE, POOLED, RESIDUAL, batch_of, engine_of, learner_of, maml


def pair() -> tuple[nn.Module, Network]:
    learner = learner_of(maml(), POOLED, "batch")
    return learner, learner.network


def test_results_keep_the_order_of_their_items_whichever_ends_first() -> None:
    def slow_first(learner: nn.Module, network: Network, item: int) -> int:
        time.sleep(0.05 if item == 0 else 0)
        return item

    assert Workers(2).map(slow_first, range(6), pair()) == list(range(6))


def test_an_update_has_the_same_bits_every_time() -> None:
    learner, batch = learner_of(maml(), RESIDUAL, "running"), batch_of(RESIDUAL.shape, tasks=6)
    engine = engine_of(learner, "vmap", examples=24, workers=3)
    first = engine.meta_gradient([batch]).gradient
    for _ in range(5):
        again = engine.meta_gradient([batch]).gradient
        assert all(torch.equal(again[name], value) for name, value in first.items())


def test_a_copy_shares_tensors_and_no_module() -> None:
    original = pair()
    learner, network = twin(original)
    assert learner.network is network
    for own, copied in zip(original[0].modules(), learner.modules(), strict=True):
        assert own is not copied
    assert all(a is b for a, b in zip(original[0].parameters(), learner.parameters(), strict=True))
    assert all(a is b for a, b in zip(original[0].buffers(), learner.buffers(), strict=True))


def test_threads_take_over_the_settings_of_the_caller() -> None:
    def settings(learner: nn.Module, network: Network, item: int) -> tuple[Any, ...]:
        time.sleep(0.02)  # so that every thread gets one
        return threading.get_ident(), torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.get_num_threads()

    before = torch.get_num_threads()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = Workers(2).map(settings, range(8), pair())
    assert len({thread for thread, *_ in found}) == 2
    assert all(tuple(rest) == (False, True, 1) for _, *rest in found)
    assert torch.get_num_threads() == before


def test_one_thread_is_the_callers_own_and_for_a_while() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="within"), one_thread():
        assert torch.get_num_threads() == 1
        raise ValueError("within")
    assert torch.get_num_threads() == before


def test_a_lone_chunk_of_vectors_takes_one_thread_without_waiting_for_another() -> None:
    found = []
    learner = learner_of(maml(), DENSE, "none")
    engine = engine_of(learner, "vmap", examples=1000, workers=2)
    learner.register_forward_pre_hook(lambda *_: found.append((threading.get_ident(), torch.get_num_threads())))
    engine.meta_gradient([batch_of(DENSE.shape, tasks=4)])
    assert set(found) == {(threading.get_ident(), 1)}


def test_a_failing_chunk_fails_the_update() -> None:
    learner, batch = learner_of(maml(), POOLED, "batch"), batch_of(POOLED.shape, tasks=4)
    assert isinstance(batch.query.x, Tensor)
    broken = replace(batch, query=replace(batch.query, x=batch.query.x[:, :, :1]))
    with pytest.raises(RuntimeError, match="channels"):
        engine_of(learner, "vmap", workers=2).meta_gradient([broken])
