"""What is collected, how often, and what an address can name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from metamtl.dashboard.watch import Watch, group_identity, identity
from metamtl.errors import UsageError
from metamtl.runs.metrics import MetricStream
from tests.comparison.made import finished
from tests.dashboard.made import training


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_runs_are_collected_again_after_a_pause(tmp_path: Path) -> None:
    clock = Clock()
    finished(tmp_path, "maml")
    watch = Watch([tmp_path], clock)
    first = watch.snapshot()
    finished(tmp_path, "anil")
    assert watch.snapshot() is first
    clock.now += 60
    assert len(watch.snapshot().records) == 2


def test_a_snapshot_stays_until_a_run_writes(tmp_path: Path) -> None:
    clock = Clock()
    run = training(tmp_path)
    watch = Watch([tmp_path], clock)
    first = watch.snapshot()
    clock.now += 60
    assert watch.snapshot() is first
    with MetricStream(run.metrics_file) as stream:
        stream.write(50, "train", {"train/loss": 0.1})
    clock.now += 60
    second = watch.snapshot()
    assert second.state != first.state
    clock.now += 60
    run.finish("failed", "It broke.")
    assert watch.snapshot().records[0].state == "failed"


def test_what_was_known_stays_while_a_folder_is_gone(tmp_path: Path) -> None:
    clock = Clock()
    finished(tmp_path / "outputs", "maml")
    watch = Watch([tmp_path / "outputs"], clock)
    shutil.rmtree(tmp_path / "outputs")
    clock.now += 60
    assert len(watch.snapshot().records) == 1


def test_a_path_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such folder"):
        Watch([tmp_path / "nowhere"])


def test_a_filter_that_cannot_be_understood_is_told(tmp_path: Path) -> None:
    finished(tmp_path, "maml")
    snapshot = Watch([tmp_path]).snapshot()
    assert "did you mean task.shots?" in str(snapshot.shown("shot=1").problem)
    assert len(snapshot.shown("shot=1").records) == 1
    assert snapshot.shown("algo=anil").records == []


def test_a_group_keeps_its_name_in_addresses_while_seeds_join(tmp_path: Path) -> None:
    clock = Clock()
    run = finished(tmp_path, "maml", 0)
    watch = Watch([tmp_path], clock)
    before = group_identity(watch.snapshot().shown("").groups[0])
    finished(tmp_path, "maml", 1)
    clock.now += 60
    (group,) = watch.snapshot().shown("").chosen([before, "nobody", "../../etc/passwd"])
    assert len(group.records) == 2
    assert before == identity(run.path)
