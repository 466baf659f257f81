"""A clock that goes back an hour each time it is read: no folder is taken twice, no run is lost."""

from __future__ import annotations

import itertools
import json
import time
from datetime import datetime, tzinfo
from pathlib import Path

import pytest

from metamtl.comparison.collect import collect
from metamtl.runs import meta
from metamtl.runs.folder import new_sweep
from tests.faults.said import said
from tests.trainer.runs import STEPS, Runs, step_of, trained_here

_NOW = 1_790_000_000


@pytest.fixture
def _backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count(_NOW, -3600)
    gmtime = time.gmtime

    class Backwards(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Backwards:
            return cls.fromtimestamp(next(seconds), tz)

    monkeypatch.setattr(time, "time", lambda: float(next(seconds)))
    monkeypatch.setattr(time, "time_ns", lambda: next(seconds) * 10**9)
    monkeypatch.setattr(time, "gmtime", lambda at=None: gmtime(next(seconds) if at is None else at))
    monkeypatch.setattr(meta, "datetime", Backwards)


@pytest.mark.usefixtures("_backwards")
def test_runs_are_made_resumed_tested_and_compared(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = runs.config("protonet")
    run = trained_here(config, tmp_path / "0")
    assert said(capsys, "resume", run, f"trainer.steps={STEPS + 4}").code == 0
    assert said(capsys, "eval", run).code == 0
    assert step_of(run) == STEPS + 4
    found = json.loads((run / "meta.json").read_text())
    assert found["ended"] < found["started"]  # the clock did go back
    assert json.loads((run / "result.json").read_text())["train"]["seconds"] > 0
    assert {record.state for record in collect([tmp_path / "0"])} == {"completed"}
    assert said(capsys, "compare", run).code == 0


def test_a_name_that_was_used_before_the_clock_went_back_is_not_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for second in (50, 51, 50, 49, 50):
        at = time.struct_time((2026, 11, 22, 3, 11, second, 6, 326, 0))
        monkeypatch.setattr(time, "gmtime", lambda at=at: at)
        names.append(new_sweep(tmp_path, "x").name[13:])
    assert names == ["50-x", "51-x", "50-x-2", "49-x", "50-x-3"]
