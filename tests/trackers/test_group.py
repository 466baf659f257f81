from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.runs.folder import RunFolder
from metamtl.trackers.group import TrackerGroup, build_trackers


class Remembering:
    """Keeps its calls; raises in the method named `fails`, waits for `released` in the one named `hangs`."""

    def __init__(self, fails: str = "", hangs: str = "") -> None:
        self.calls: list[Any] = []
        self.released = threading.Event()
        self._fails, self._hangs = fails, hangs

    def start(self, run_folder: RunFolder, config: Mapping[str, Any]) -> None:
        self._keep("start", run_folder, config)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._keep("log", step, values)

    def finish(self, result: Mapping[str, Any] | None, status: str) -> None:
        self._keep("finish", result, status)

    def _keep(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        if self._fails == name:
            raise SystemExit("broken, api_key=abc")
        if self._hangs == name:
            self.released.wait(30)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, {"seed": 0}, [], "x")


def _train(group: TrackerGroup, run: RunFolder, steps: int = 3) -> float:
    begin = time.monotonic()
    group.start(run, {"seed": 0})
    values: dict[str, float] = {}
    for step in range(steps):
        values["train/loss"] = step  # one dict, used again
        group.log(step, values)
    group.finish({"test": {}}, "completed")
    return time.monotonic() - begin


def _expected(run: RunFolder) -> list[Any]:
    logged = [("log", step, {"train/loss": step}) for step in range(3)]
    return [("start", run, {"seed": 0}), *logged, ("finish", {"test": {}}, "completed")]


def test_every_tracker_gets_every_call_in_order(run: RunFolder) -> None:
    trackers = {"a": Remembering(), "b": Remembering()}
    warnings: list[str] = []
    _train(TrackerGroup(trackers, warn=warnings.append), run)
    for tracker in trackers.values():
        assert tracker.calls == _expected(run)
    assert warnings == []


def test_no_tracker_is_a_group_too(run: RunFolder) -> None:
    for section in (None, {}, {"wandb": None}):
        assert _train(build_trackers(section), run) < 1


@pytest.mark.parametrize("method", ["start", "log", "finish"])
def test_one_that_raises_warns_once_and_the_others_go_on(run: RunFolder, method: str) -> None:
    broken, sound = Remembering(fails=method), Remembering()
    warnings: list[str] = []
    _train(TrackerGroup({"broken": broken, "sound": sound}, warn=warnings.append), run)
    assert warnings == [
        "The tracker broken failed: SystemExit: broken, api_key=***; the run and its folder are unharmed."
    ]
    assert sound.calls == _expected(run)
    assert len(broken.calls) == (1 if method == "start" else 5)  # one that never started is left alone


@pytest.mark.parametrize("method", ["start", "log", "finish"])
def test_one_that_hangs_is_left_behind_in_bounded_time(run: RunFolder, method: str) -> None:
    stuck, sound = Remembering(hangs=method), Remembering()
    warnings: list[str] = []
    group = TrackerGroup({"stuck": stuck, "sound": sound}, finish_seconds=0.3, warn=warnings.append)
    assert _train(group, run) < 2
    assert len(warnings) == 1
    assert "stuck did not finish in time" in warnings[0]
    assert sound.calls == _expected(run)
    stuck.released.set()


def test_figures_are_dropped_once_a_hanging_tracker_has_no_room(run: RunFolder) -> None:
    stuck = Remembering(hangs="start")
    warnings: list[str] = []
    group = TrackerGroup({"stuck": stuck}, finish_seconds=0.1, queue_length=4, warn=warnings.append)
    assert _train(group, run, steps=1000) < 2
    assert len(warnings) == 1
    assert "does not keep up" in warnings[0]
    stuck.released.set()


def test_a_slow_tracker_with_a_full_queue_is_still_finished(run: RunFolder) -> None:
    slow = Remembering(hangs="start")
    warnings: list[str] = []
    group = TrackerGroup({"slow": slow}, finish_seconds=5, queue_length=4, warn=warnings.append)
    threading.Timer(0.3, slow.released.set).start()
    _train(group, run, steps=100)
    assert slow.calls[-1] == ("finish", {"test": {}}, "completed")
    assert len(warnings) == 1


def test_a_hanging_tracker_does_not_keep_the_process(tmp_path: Path) -> None:
    program = f"""
import time
from pathlib import Path
from metamtl.runs.folder import RunFolder
from metamtl.trackers.group import TrackerGroup
class Stuck:
    def start(self, run_folder, config): time.sleep(1000)
group = TrackerGroup({{"stuck": Stuck()}}, finish_seconds=0.1)
group.start(RunFolder(Path({str(tmp_path)!r})), {{}})
group.finish(None, "failed")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20)
    assert done.stderr.count("did not finish in time") == 1


def test_trackers_are_built_by_name_from_the_config_section() -> None:
    @register("logger", "test_remembering")
    class Made(Remembering):
        def __init__(self, *, colour: str) -> None:
            super().__init__()
            assert colour == "red"

    build_trackers({"mine": {"name": "test_remembering", "colour": "red"}})
    with pytest.raises(UsageError, match="No logger named 'absent'"):
        build_trackers({"absent": {"name": "absent"}})
