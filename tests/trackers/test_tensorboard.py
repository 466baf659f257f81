from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from metamtl.errors import MetamtlError
from metamtl.runs.folder import RunFolder
from metamtl.trackers.tensorboard import TensorBoardTracker

pytest.importorskip("tensorboard")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, {"seed": 0}, [], "x")


def _scalars(run: RunFolder, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def _train(run: RunFolder, steps: range, offset: float = 0.0) -> None:
    tracker = TensorBoardTracker()
    tracker.start(run, {})
    for step in steps:
        tracker.log(step, {"train/loss": step + offset, "train/accuracy": math.nan})
    tracker.finish(None, "completed")


def test_figures_are_read_back_by_tensorboard(run: RunFolder) -> None:
    _train(run, range(0, 30, 10))
    assert _scalars(run, "train/loss") == [(0, 0.0), (10, 10.0), (20, 20.0)]
    assert math.isnan(_scalars(run, "train/accuracy")[0][1])


def test_a_resumed_run_replaces_the_steps_it_does_again(run: RunFolder) -> None:
    _train(run, range(5))
    _train(run, range(3, 6), offset=0.5)
    assert _scalars(run, "train/loss") == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.5), (4, 4.5), (5, 5.5)]


def test_what_is_logged_is_there_before_the_end(run: RunFolder) -> None:
    tracker = TensorBoardTracker()
    tracker.start(run, {})
    tracker.log(1, {"train/loss": 2.0})
    assert _scalars(run, "train/loss") == [(1, 2.0)]
    tracker.finish(None, "failed")


def test_it_needs_neither_torch_nor_tensorflow(run: RunFolder) -> None:
    program = f"""
import sys
from pathlib import Path
from metamtl.runs.folder import RunFolder
from metamtl.trackers.tensorboard import TensorBoardTracker
TensorBoardTracker().start(RunFolder(Path({str(run.path)!r})), {{}})
print(*{{"torch", "tensorflow"}} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_without_tensorboard_the_command_that_installs_it_is_told(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(MetamtlError, match=r"pip install 'metamtl\[tracking\]'"):
        TensorBoardTracker().start(run, {})
