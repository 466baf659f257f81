from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from metamtl.errors import MetamtlError
from metamtl.runs.folder import RunFolder
from metamtl.runs.result import Result, read_episodes, read_result, share, summary, write_result


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, {"seed": 0}, [], "x")


def test_summary_is_the_mean_and_the_normal_interval_over_episodes() -> None:
    found = summary(np.array([0.0, 1.0, 1.0, 1.0], dtype=np.float32))
    assert found["mean"] == 0.75
    assert found["ci95"] == pytest.approx(1.96 * 0.5 / 2)  # the sd with n - 1 is 0.5
    assert found["episodes"] == 4
    assert math.isnan(summary(np.array([1.0]))["ci95"])
    for wrong in (np.zeros(0), np.zeros((2, 2))):
        with pytest.raises(ValueError, match="one episode or more"):
            summary(wrong)


def test_a_result_is_read_back_with_its_episodes(run: RunFolder) -> None:
    accuracy = np.random.default_rng(0).random(50)
    result: Result = {
        "test": {"accuracy": summary(accuracy)},
        "train": {"steps": 10, "tasks_per_second": 5.0, "seconds": 2.0},
        "model": {"parameters": 7, "trainable": 7},
        "best": {"step": 5, "val/accuracy": 0.9},
        "episodes_id": "abc",
    }
    write_result(run, result, {"accuracy": accuracy, "road/mse": np.array([1.0, 2.0])})
    found = read_result(run)
    assert {key: value for key, value in found.items() if not key.startswith("episodes_")} == {
        key: value for key, value in result.items() if not key.startswith("episodes_")
    }
    assert json.loads(run.result_file.read_text())["test"]["accuracy"].keys() == {"mean", "ci95", "episodes"}
    array = np.load(run.episodes_file, allow_pickle=False)
    assert (array.shape, array.dtype, found["episodes_columns"]) == ((50, 2), np.float64, ["accuracy", "road/mse"])
    episodes = read_episodes(run)
    np.testing.assert_array_equal(episodes["accuracy"], accuracy)
    assert np.isnan(episodes["road/mse"][2:]).all()


def test_episodes_of_another_result_are_refused(run: RunFolder) -> None:
    write_result(run, {}, {"accuracy": np.ones(3)})
    np.save(run.episodes_file, np.zeros((3, 1)))
    with pytest.raises(MetamtlError, match="is not the file that belongs to"):
        read_episodes(run)


def test_what_is_missing_is_told(run: RunFolder) -> None:
    with pytest.raises(MetamtlError, match="has not finished an evaluation"):
        read_result(run)
    write_result(run, {"episodes_id": "a"})
    with pytest.raises(MetamtlError, match="no figures of single episodes"):
        read_episodes(run)
    run.result_file.write_text("[]")
    with pytest.raises(MetamtlError, match="is damaged"):
        read_result(run)


def test_a_share_has_the_interval_of_wilson() -> None:
    found = share(np.array([True] * 3 + [False] * 7))
    assert found["rate"] == 0.3
    # the roots of (p - 0.3)^2 = z^2 p (1 - p) / n
    for end in ("low", "high"):
        assert (found[end] - 0.3) ** 2 == pytest.approx(1.96**2 * found[end] * (1 - found[end]) / 10)
    assert found["low"] < 0.3 < found["high"]
    nothing = share(np.zeros(5, dtype=bool))
    assert nothing["rate"] == nothing["low"] == 0 and 0 < nothing["high"] < 1
    with pytest.raises(ValueError, match="nothing"):
        share(np.zeros(0, dtype=bool))
