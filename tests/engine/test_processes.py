"""Chunks in processes: the bits that threads give, and what may go wrong between two processes."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metamtl.engine import pools
from metamtl.engine.lines import packed, unpacked
from metamtl.engine.network import Network
from metamtl.engine.plan import Pool
from metamtl.engine.pools import TRIALS
from metamtl.engine.processes import LostError, Processes, UnpackableError, can_start
from metamtl.engine.tasks import Engine
from metamtl.engine.update import Update
from metamtl.errors import MetamtlError, UsageError
from tests.engine.made import POOLED, RESIDUAL, batch_of, engine_of, learner_of, maml

pytestmark = pytest.mark.skipif(not can_start(), reason="no processes here")


def pair() -> tuple[nn.Module, Network]:
    learner = learner_of(maml(), POOLED, "batch")
    return learner, learner.network


def engine_in(pool: Pool, workers: int = 3, **options: Any) -> Engine:
    learner = learner_of(maml(**options), RESIDUAL, "running")
    engine = engine_of(learner, "vmap", examples=24, workers=workers)
    engine.plan = replace(engine.plan, pool=pool)
    return engine


def same(a: Update, b: Update) -> bool:
    gradients = all(torch.equal(a.gradient[name], g) for name, g in b.gradient.items())
    figures = all(torch.equal(a.figures[name], values) for name, values in b.figures.items())
    pairs = zip(a.statistics, b.statistics, strict=True)
    return (
        gradients
        and figures
        and all(torch.equal(x, y) for one, other in pairs for x, y in zip(one, other, strict=True))
    )


@pytest.fixture(scope="module")
def pool() -> Processes:
    return Processes(2)


def waited_for(pool: Processes) -> bool:
    for end in list(pool._waiting):
        pool._greeted(end)
    return True


# functions of a chunk, which processes find by their names


def number(learner: nn.Module, network: Network, item: int) -> tuple[int, int]:
    time.sleep(0.02)
    return item, os.getpid()


def settings(learner: nn.Module, network: Network, item: int) -> tuple[bool, bool, int]:
    return torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.get_num_threads()


def weight(learner: nn.Module, network: Network, item: int) -> tuple[float, bool]:
    first = next(learner.parameters())
    return float(first.detach().flatten()[0]), learner.training


def warned(learner: nn.Module, network: Network, item: int) -> int:
    if item:
        warnings.warn("item one is odd", stacklevel=1)
    return item


def failing(learner: nn.Module, network: Network, item: int) -> int:
    if item:
        raise UsageError(f"item {item} is bad")
    return item


class TwiceToldError(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def twice_told(learner: nn.Module, network: Network, item: int) -> int:
    if item:
        raise TwiceToldError("here", "there")
    return item


def killed(learner: nn.Module, network: Network, item: int) -> int:
    if item:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_updates_and_evaluation_have_the_bits_that_threads_give() -> None:
    batch = batch_of(RESIDUAL.shape, tasks=5)
    by_threads, engine = engine_in("threads"), engine_in("processes")
    wanted = by_threads.meta_gradient([batch])
    for _ in range(3):
        assert same(engine.meta_gradient([batch]), wanted)
    figures = by_threads.evaluate([batch])
    assert all(torch.equal(values, figures[name]) for name, values in engine.evaluate([batch]).items())


def test_processes_see_the_learner_as_it_is_at_each_update(pool: Processes) -> None:
    learner, network = pair()
    first = next(learner.parameters())
    for value, training in ((1.5, True), (-2.0, False)):
        with torch.no_grad():
            first.fill_(value)
        learner.train(training)
        assert pool.map(weight, range(4), (learner, network)) == [(value, training)] * 4


def test_items_are_shared_out_in_their_order() -> None:
    found = Processes(3).map(number, range(7), pair())
    assert [item for item, _ in found] == list(range(7))
    assert len({process for _, process in found}) == 3
    assert os.getpid() in {process for _, process in found}


def test_settings_of_the_caller_are_taken_over(pool: Processes) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = pool.map(settings, range(4), pair())
    assert found == [(False, True, 1)] * 4


def test_a_warning_reaches_the_caller(pool: Processes) -> None:
    with pytest.warns(UserWarning, match="item one is odd"):
        pool.map(warned, range(2), pair())


def test_a_failure_reaches_the_caller_and_the_pool_goes_on(pool: Processes) -> None:
    with pytest.raises(UsageError, match="item 1 is bad") as found:
        pool.map(failing, range(2), pair())
    assert "in failing" in str(found.value.__cause__)
    with pytest.raises(RuntimeError, match="TwiceToldError: here and there"):
        pool.map(twice_told, range(2), pair())
    with warnings.catch_warnings(), pytest.raises(UserWarning, match="odd"):
        warnings.simplefilter("error")
        pool.map(warned, range(2), pair())
    assert [item for item, _ in pool.map(number, range(2), pair())] == [0, 1]


def test_a_killed_process_is_told_in_a_sentence() -> None:
    with pytest.raises(MetamtlError, match=r"trainer\.pool=threads"):
        Processes(2).map(killed, range(2), pair())


def test_threads_take_over_from_processes_that_auto_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, batch = engine_in("processes", workers=2), batch_of(RESIDUAL.shape, tasks=5)
    wanted = engine_in("threads", workers=2).meta_gradient([batch])
    engine.meta_gradient([batch])
    monkeypatch.setattr(engine._pools, "_chosen", True)
    processes = engine._pools._processes
    assert processes is not None
    os.kill(processes.map(number, range(2), pair())[1][1], signal.SIGKILL)
    with pytest.warns(UserWarning, match="goes on with threads"):
        assert same(engine.meta_gradient([batch]), wanted)
    assert same(engine.meta_gradient([batch]), wanted)


def test_an_interrupted_update_leaves_no_answer_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Processes(2)
    pool.map(number, range(2), pair())
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("metamtl.engine.processes.unpacked", lambda message: (_ for _ in ()).throw(KeyboardInterrupt))
        pool.map(number, range(2), pair())
    with pytest.raises(LostError):
        pool.map(number, range(2), pair())


def test_the_current_folder_is_not_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "queue.py").write_text("raise RuntimeError('the wrong one')")
    monkeypatch.chdir(tmp_path)
    assert [item for item, _ in Processes(2).map(number, range(2), pair())] == [0, 1]


def test_too_many_open_files_are_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("metamtl.engine.processes.socket.socketpair", full)
    with pytest.raises(UnpackableError, match="Too many open files"):
        Processes(2)


def test_signals_of_a_terminal_leave_the_processes_alone(pool: Processes) -> None:
    ((_, own), (_, other)) = pool.map(number, range(2), pair())
    assert os.getpgid(other) != os.getpgid(own)
    for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        os.kill(other, sent)
    assert pool.map(number, range(2), pair())[1] == (1, other)


def test_processes_end_with_their_pool() -> None:
    pool = Processes(2)
    ((_, _), (_, other)) = pool.map(number, range(2), pair())
    del pool
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(other, 0)


def test_processes_end_with_a_process_that_is_killed() -> None:
    code = (
        "import os, signal; from metamtl.engine.processes import Processes; from tests.engine.test_processes import *\n"
        "print(Processes(2).map(number, range(2), pair())[1][1], flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    for _ in range(100):
        try:
            os.kill(int(done.stdout), 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("the other process is still there")


def test_a_program_that_cannot_start_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setattr(pools, "WORTH", -1.0)
    engine, batch = engine_in("auto"), batch_of(RESIDUAL.shape, tasks=5)
    wanted = engine_in("threads").meta_gradient([batch])
    for _ in range(50):
        assert same(engine.meta_gradient([batch]), wanted)
        if engine.plan.pool == "threads":
            return
        time.sleep(0.1)
    raise AssertionError(engine.plan.pool)


def test_short_runs_start_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_started", lambda count: pytest.fail("started"))
    engine, batch = engine_in("auto"), batch_of(RESIDUAL.shape, tasks=5)
    for _ in range(3):
        engine.meta_gradient([batch])
    assert engine.plan.pool == "auto"


def test_what_cannot_be_sent_is_refused_where_processes_were_asked_for() -> None:
    engine = engine_in("processes")
    engine.learner.hidden = lambda: None  # type: ignore[assignment]
    with pytest.raises(UsageError, match=r"trainer\.pool=threads"):
        engine.meta_gradient([batch_of(RESIDUAL.shape, tasks=5)])


def test_auto_takes_threads_where_a_learner_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "WORTH", -1.0)
    monkeypatch.setattr(Processes, "ready", waited_for)
    engine, batch = engine_in("auto"), batch_of(RESIDUAL.shape, tasks=5)
    engine.learner.hidden = lambda: None  # type: ignore[assignment]
    wanted = engine_in("threads").meta_gradient([batch])
    for _ in range(2):
        assert same(engine.meta_gradient([batch]), wanted)
    assert engine.plan.pool == "threads"


@pytest.mark.parametrize("faster", ["threads", "processes"])
def test_auto_takes_the_faster_and_every_update_counts(faster: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "WORTH", -1.0)
    clock = [0.0]
    for name, seconds in (("_by_threads", 1.0), ("_by_processes", 2.0)):
        original = getattr(pools.Pools, name)

        def timed(self: Any, *given: Any, original: Any = original, seconds: float = seconds) -> Any:
            clock[0] += seconds if faster == "threads" else 3 - seconds
            return original(self, *given)

        monkeypatch.setattr(pools.Pools, name, timed)
    monkeypatch.setattr("metamtl.engine.pools.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    batch = batch_of(RESIDUAL.shape, tasks=5)
    wanted, engine = engine_in("threads").meta_gradient([batch]), engine_in("auto")
    monkeypatch.setattr(Processes, "ready", waited_for)
    for _ in range(2 * (TRIALS + 1)):
        assert engine.plan.pool == "auto"
        assert same(engine.meta_gradient([batch]), wanted)
    assert engine.plan.pool == faster
    assert same(engine.meta_gradient([batch]), wanted)


def test_a_message_keeps_layouts_and_what_is_one_object() -> None:
    last = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    trained = nn.Parameter(torch.randn(3, dtype=torch.float64))
    values: list[Tensor] = [last, trained, torch.tensor(3), torch.zeros(0, 2), torch.ones(4).bfloat16()]
    found = unpacked(packed((values, trained)))
    for sent, got in zip(values, found[0], strict=True):
        assert torch.equal(sent, got) and sent.stride() == got.stride() and sent.dtype == got.dtype
    assert found[0][1] is found[1] and isinstance(found[1], nn.Parameter)


def test_a_function_of_no_name_is_unpackable(pool: Processes) -> None:
    with pytest.raises(UnpackableError, match="cannot be sent"):
        pool.map(lambda *_: 0, range(2), pair())
