"""Many runs that start at once in one outputs folder: each has a folder of its own, and all end as one alone does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainer.processes import start, training
from tests.trainer.runs import Runs, assert_same, outcome

TINY = ("trainer.steps=3", "trainer.checkpoint_every=1", "trainer.validate_every=1", "eval.episodes=4")


@pytest.mark.parametrize("count", [4, pytest.param(200, marks=pytest.mark.slow)])
def test_runs_at_once_are_as_one_alone(runs: Runs, tmp_path: Path, count: int) -> None:
    config = runs.config("sinusoid", *TINY)
    started = [start(training(config), tmp_path) for _ in range(count)]
    assert [one.end() for one in started] == [0] * count, [one.err for one in started if one.process.exitcode]
    folders = sorted(meta.parent for meta in tmp_path.glob("outputs/*/meta.json"))
    assert len(folders) == count
    alone = runs.finished("sinusoid", *TINY)
    assert outcome(folders[0])  # which says that it is complete
    for folder in folders:
        assert_same(folder, alone)
