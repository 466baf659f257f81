"""Several families on two processes: the weighting and what it measures elsewhere are those of one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metamtl.runs.folder import RunFolder
from metamtl.runs.result import read_result
from tests.multitask.composed import short, trained
from tests.trainer.processes import start_together, training
from tests.trainer.runs import only_run


@pytest.mark.slow
@pytest.mark.parametrize("weighting", ["famo", "model_averaging"])
def test_two_processes_train_families_as_one(tmp_path: Path, weighting: str) -> None:
    sections: dict[str, Any] = {"weighting": {"name": weighting}, "relatedness": {"every": 2}}
    running = start_together(2, training(short(4, 10, **sections)), tmp_path / "two")
    assert [one.end() for one in running] == [0, 0], running[0].err
    one: Any = read_result(trained(tmp_path / "one", 4, 10, **sections))
    two: Any = read_result(RunFolder(only_run(tmp_path / "two")))
    for name, record in one["families"].items():
        assert two["families"][name]["test"]["mse"]["mean"] == pytest.approx(record["test"]["mse"]["mean"], rel=1e-9)
    for kind in ("affinity", "cosine"):
        assert two["relatedness"][kind] == pytest.approx(one["relatedness"][kind], rel=1e-9)
