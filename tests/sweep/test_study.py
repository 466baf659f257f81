"""The study in real storages: trials are taken once, counted exactly, and taken over from the dead."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from metamtl.errors import UsageError
from metamtl.sweep import owners
from metamtl.sweep.owners import Owner, signed
from metamtl.sweep.report import ranked
from metamtl.sweep.request import Request, _options
from metamtl.sweep.storage import open_storage
from metamtl.sweep.study import MOST_DEATHS, Claim, Ledger, join_study
from tests.sweep.postgres import server

STORAGES = ["sqlite", "journal", "postgresql"]


def request(*words: str, storage: str | None = None) -> Request:
    options, problems = _options(words)
    assert not problems
    space = {"a": "log(1e-3,1)", "b": "choice(x,y)"}
    return Request([], space, {**options, "storage": storage}, ".", steps=9, validate_every=1, metric="mse")


@contextmanager
def joined(asked: Request, folder: Path) -> Iterator[tuple[Ledger, Owner]]:
    storage = open_storage(asked.options["storage"], folder)
    ledger = Ledger(join_study(asked, storage, "study"), storage, asked)
    with signed(folder, lambda: ledger.study.user_attrs) as owner:
        yield ledger, owner


@pytest.fixture
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | None]:
    with ExitStack() as stack:
        if request.param == "postgresql":
            yield stack.enter_context(server())
        else:
            yield {"sqlite": None, "journal": str(tmp_path / "journal.log")}[request.param]


def state_of(ledger: Ledger) -> list[str]:
    return [trial.state.name for trial in ledger.trials()]


def take(ledger: Ledger, owner: Owner) -> Claim:
    claim = ledger.claim(owner)
    assert claim is not None
    return claim


def _work(asked: Request, folder: Path, done: Any) -> None:
    with joined(asked, folder) as (ledger, owner):
        while (claim := ledger.claim(owner)) is not None:
            if claim.number % 5 == 0:
                ledger.fail(claim, "a fifth of them fail")
            else:
                ledger.complete(claim, float(claim.number))
            done.put(claim.number)


@pytest.mark.parametrize("address", STORAGES, indirect=True)
def test_processes_that_share_a_study_take_each_trial_once(address: str | None, tmp_path: Path) -> None:
    asked = request("sweep.trials=12", "sweep.sampler=random", storage=address)
    context = multiprocessing.get_context("forkserver")
    done = context.SimpleQueue()
    processes = [context.Process(target=_work, args=(asked, tmp_path, done), daemon=True) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with joined(asked, tmp_path) as (ledger, owner):
        states = state_of(ledger)
        assert ledger.finished()
        assert states.count("COMPLETE") == 12
        assert states.count("FAIL") == sum(number % 5 == 0 for number in range(12 + states.count("FAIL")))
        assert ledger.claim(owner) is None
    taken = [done.get() for _ in range(states.count("COMPLETE") + states.count("FAIL"))]
    assert done.empty()
    assert len(set(taken)) == len(taken), "a trial was trained twice"


def _die(asked: Request, folder: Path, told: Any) -> None:
    with joined(asked, folder) as (ledger, owner):
        claim = take(ledger, owner)
        ledger.report(claim, 1, 0.5)
        told.put((claim.number, claim.values))
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("address", STORAGES[:2], indirect=True)
def test_a_dead_commands_trial_keeps_its_number_and_values(address: str | None, tmp_path: Path) -> None:
    asked = request("sweep.trials=2", storage=address)
    context = multiprocessing.get_context("forkserver")
    told = context.SimpleQueue()
    process = context.Process(target=_die, args=(asked, tmp_path, told), daemon=True)
    process.start()
    process.join(100)
    number, values = told.get()
    with joined(asked, tmp_path) as (ledger, owner):
        assert state_of(ledger) == ["RUNNING"]
        claim = take(ledger, owner)
        assert (claim.number, claim.values) == (number, values)
        assert ledger.trials()[0].user_attrs["restarts"] == 1
        with signed(tmp_path, lambda: ledger.study.user_attrs) as other:
            second = take(ledger, other)
            assert second.number == 1, "a living command's trial was taken over"
            assert ledger.claim(other) is None
        assert ledger.report(claim, 1, 0.7) is None
        assert ledger.trials()[0].intermediate_values == {1: 0.5}, "a repeated validation is the first one's"


def test_values_depend_on_the_seed_and_the_number_alone(tmp_path: Path) -> None:
    found = []
    for name in ("unbroken", "broken"):
        asked = request("sweep.trials=4", "sweep.sampler=random", storage=str(tmp_path / name))
        values = []
        for times in (4,) if name == "unbroken" else (1, 2, 1):
            with joined(asked, tmp_path) as (ledger, owner):
                for _ in range(times):
                    claim = take(ledger, owner)
                    values.append(claim.values)
                    ledger.complete(claim, 1.0)
        found.append(values)
    assert found[0] == found[1]
    assert len({values["a"] for values in found[0]}) == 4


def test_what_becomes_of_trials(tmp_path: Path) -> None:
    with joined(request("sweep.trials=3"), tmp_path) as (ledger, owner):
        ledger.fail(take(ledger, owner), "it crashed")
        ledger.prune(take(ledger, owner), "not good")
        released = take(ledger, owner)
        ledger.release(released)
        again = take(ledger, owner)
        assert (again.number, again.values) == (released.number, released.values)
        for _ in range(MOST_DEATHS - 1):
            ledger.died(again, "Its process was ended by SIGKILL.")
            again = take(ledger, owner)
            assert again.number == released.number
        ledger.died(again, "Its process was ended by SIGKILL.")
        assert state_of(ledger) == ["FAIL", "PRUNED", "FAIL"]
        reasons = [trial.user_attrs["reason"] for trial in ledger.trials()]
        assert reasons[:2] == ["it crashed", "not good"]
        assert "SIGKILL" in reasons[2]
        assert not ledger.finished()
        for _ in range(2):
            ledger.complete(take(ledger, owner), 1.0)
        assert ledger.finished()
        assert ledger.claim(owner) is None
        assert len(ledger.failures()) == 2


@pytest.mark.parametrize("address", STORAGES[:2], indirect=True)
def test_what_is_not_a_number_is_finished_and_the_sampler_leaves_its_like(address: str | None, tmp_path: Path) -> None:
    """Of values above 0.05 none trains: 25 of the last 30 values are below, where at random 13 would be."""
    asked = request("sweep.trials=50", storage=address)
    with joined(asked, tmp_path) as (ledger, owner):
        tried = []
        for _ in range(50):
            claim = take(ledger, owner)
            tried.append(float(claim.values["a"]))
            ledger.complete(claim, float("nan") if tried[-1] > 0.05 else 1.0 + tried[-1])
        assert ledger.finished() and not ledger.failures()
        assert sum(value < 0.05 for value in tried[20:]) >= 25
        diverged = [trial for trial in ledger.trials() if trial.params["a"] > 0.05]
        assert {trial.user_attrs["reason"] for trial in diverged} == {"val/mse was not a number."}
        assert ranked(asked, ledger)[-1].number not in [trial.number for trial in diverged]
        assert len(ranked(asked, ledger)) == 50 - len(diverged)


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_a_poor_trial_is_pruned_and_a_good_one_is_not(pruner: str, tmp_path: Path) -> None:
    asked = request("sweep.trials=30", f"sweep.pruner={pruner}", storage=str(tmp_path / "journal.log"))
    with joined(asked, tmp_path) as (ledger, owner):
        for number in range(8):
            claim = take(ledger, owner)
            for step in range(1, 10):
                if ledger.report(claim, step, 1.0 + number / 100) is not None:
                    break
            else:
                ledger.complete(claim, 1.0)
                continue
            ledger.prune(claim, "so the rule says")
        poor = [ledger.report(claim, step, 99.0) for claim in [take(ledger, owner)] for step in range(1, 10)]
        good = [ledger.report(claim, step, 0.1) for claim in [take(ledger, owner)] for step in range(1, 9)]
        assert any(reason and f"Pruned by the {pruner} rule at step" in reason for reason in poor)
        assert not any(good)


def test_another_machines_command_is_dead_when_it_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    now, beats = [1000.0], {"beat there": 1}
    monkeypatch.setattr("metamtl.sweep.owners.time.monotonic", lambda: now[0])
    owner = Owner({"id": "me", "host": "here", "folder": "/nowhere"}, lambda: dict(beats))
    other = {"id": "there", "host": "elsewhere", "folder": "/nowhere"}
    assert owner.lives(owner.record)
    assert not owner.lives(None)
    assert not owner.lives({**other, "host": "here"})
    for _ in range(5):
        assert owner.lives(other)
        now[0] += owners.SILENT_SECONDS - 1
        beats["beat there"] += 1
    assert owner.lives(other)
    now[0] += owners.SILENT_SECONDS + 1
    assert not owner.lives(other)


def test_another_sweep_of_the_same_name_is_refused(tmp_path: Path) -> None:
    storage = open_storage(None, tmp_path)
    join_study(request(), storage, "study")
    with pytest.raises(UsageError, match=r"begun with another sampler, seed: .* another sweep.name"):
        join_study(request("sweep.sampler=random", "sweep.seed=1"), storage, "study")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("sqlite:////nowhere/at/all.db", "unable to open database file"),
        ("/nowhere/at/all.log", "there is no folder /nowhere/at"),
        ("mysterious://host/x", "Can't load plugin"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", "Is the server up"),
    ],
)
def test_a_storage_that_cannot_be_opened(given: str, said: str, tmp_path: Path) -> None:
    if "psycopg" in given:
        pytest.importorskip("psycopg")
    with pytest.raises(UsageError, match="cannot be opened") as caught:
        open_storage(given, tmp_path)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
