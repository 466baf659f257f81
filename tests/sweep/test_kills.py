"""A sweep is killed by real means, and goes on: as many trials as asked finish, none lost, none doubled."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.sweep.commands import TINY, begin, ended, kill, metas, only_sweep, report, states, wait_for, workers

TRIALS = 5
LONG = ("trainer.steps=60", "trainer.validate_every=10")  # so that a kill meets trials that run

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to see processes")


def running(sweep: Path) -> bool:
    """Whether a trial trains now and has made a first step."""
    return any(
        status == "running" and (sweep / name / "metrics.jsonl").exists() for name, status in metas(sweep).items()
    )


@pytest.mark.slow
def test_two_kills_and_two_commands_at_once(tmp_path: Path) -> None:
    own = (f"sweep.trials={TRIALS}", "sweep.workers=2", "sweep.seeds=1", "sweep.pruner=median")
    process = begin(tmp_path, *TINY, *LONG, *own, "sweep.name=killed")
    sweep = tmp_path / "outputs" / "killed"
    wait_for(lambda: running(sweep))
    kill(process)
    wait_for(lambda: not workers(tmp_path))  # no process outlives the command
    begun = {name: (sweep / name / "config.yaml").read_bytes() for name in metas(sweep)}
    assert "running" in metas(sweep).values()

    process = begin(tmp_path, "--continue", str(sweep))
    wait_for(lambda: "completed" in metas(sweep).values() and running(sweep))
    kill(process)
    wait_for(lambda: not workers(tmp_path))

    both = [begin(tmp_path, "--continue", str(sweep), "sweep.workers=1") for _ in range(2)]
    said = [ended(process) for process in both]
    wait_for(lambda: not workers(tmp_path))
    found = report(sweep)
    assert [trial["number"] for trial in found["trials"]] == list(range(TRIALS))
    assert set(states(sweep)) <= {"complete", "pruned"}
    assert sum(trial["restarts"] for trial in found["trials"]) >= 2, "no trial was met by a kill"
    for name, config in begun.items():
        assert (sweep / name / "config.yaml").read_bytes() == config, "a trial was begun anew with other values"
    assert sorted(metas(sweep)) == sorted([*map(str, range(TRIALS)), f"{found['best']}-s1"])
    assert "running" not in metas(sweep).values()
    told = [line.split()[1] for out in said for line in out.splitlines() if line.startswith("trial ")]
    assert len(told) == len(set(told)), "two commands trained one trial"


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_a_signal_stops_in_good_order(tmp_path: Path) -> None:
    process = begin(tmp_path, *TINY, *LONG, "sweep.trials=2", "sweep.seeds=0")
    wait_for(lambda: (tmp_path / "outputs").exists() and running(only_sweep(tmp_path)))
    sweep = only_sweep(tmp_path)
    (first,) = [pid for pid in workers(tmp_path) if os.getpgid(pid) == pid != process.pid]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: (sweep / "sweep.json").exists() and bool(report(sweep)["trials"][0]["deaths"]))
    wait_for(lambda: (sweep / "1" / "metrics.jsonl").exists())
    process.send_signal(signal.SIGTERM)
    said = ended(process, 143)
    assert f"Stopped by SIGTERM. Go on with: metamtl sweep --continue {sweep}" in said
    assert not workers(tmp_path)
    assert metas(sweep)["1"] in ("interrupted", "completed")
    assert states(sweep)[0] == "complete"
    ended(begin(tmp_path, "--continue", str(sweep)))
    (zero, one) = report(sweep)["trials"]
    assert (zero["state"], one["state"]) == ("complete", "complete")
    assert zero["deaths"] == ["Its process was ended by SIGKILL."]
    assert zero["restarts"] == 1
