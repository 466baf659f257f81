"""Many short runs one after another in one process: neither memory nor open files nor processes nor threads grow."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import pytest

from tests.trainer.runs import Runs, trained_here

TINY = (
    "trainer.steps=1",
    "trainer.meta_batch=1",
    "eval.val_episodes=2",
    "eval.episodes=2",
    "eval.gap_episodes=0",
    "trainer.pictures=0",
    "trainer.threads=1",
    "algo.inner_steps=1",
    "algo.test_steps=1",
    "backbone.hidden=[4]",
)


def _resident() -> float:
    """Memory of this process, in MB."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _held() -> dict[str, int]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "processes": len(children),
        "threads": threading.active_count(),
    }


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="counts what a process holds in /proc")
@pytest.mark.parametrize(("count", "grown"), [(24, 12.0), pytest.param(1000, 30.0, marks=pytest.mark.slow)])
def test_nothing_is_held_on_to(runs: Runs, tmp_path: Path, count: int, grown: float) -> None:
    config = runs.config("sinusoid", *TINY)
    for number in range(count // 4):  # what is cached once for all is there after these
        trained_here(config, tmp_path / str(number))
    memory, held = _resident(), _held()
    for number in range(count // 4, count):
        trained_here(config, tmp_path / str(number))
    assert _held() == held
    print(f"after {count // 4} runs {memory:.1f} MB and {held}; after {count} {_resident():.1f} MB and {_held()}")
    assert _resident() - memory < grown
