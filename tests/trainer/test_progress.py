"""What a person reads of a run, while it trains and afterwards in its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from metamtl.runs.log import log_to
from metamtl.trainer import progress
from metamtl.trainer.progress import Display
from tests.trainer.runs import STEPS, VALIDATE, Runs


def lines(log: Path) -> list[str]:
    """The log without times."""
    return [line.partition(" ")[2] for line in log.read_text().splitlines()]


def test_the_log_of_a_finished_run_says_how_it_went(runs: Runs) -> None:
    run = runs.finished("sinusoid")
    said = [line.partition(": ")[2] for line in lines(run / "log.txt")]
    assert said[0].startswith(f"run {run} (process ")
    validations = [line for line in said if ": validation mse " in line]
    assert [line.partition(":")[0] for line in validations] == [
        f"step {n}" for n in range(VALIDATE, STEPS + 1, VALIDATE)
    ]
    assert validations[0].endswith("(best)")
    assert any(line.startswith("test ") and "mse" in line for line in said)
    assert said[-1] == f"result {run / 'result.json'}"


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_goes_to_the_log_now_and_then(
    terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", terminal)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with log_to(tmp_path / "log.txt"), Display("made", 10, 0, visible=True) as display:
        display.step(4, {"loss": 0.5, "accuracy": 0.25}, 12.0)
        display.note("here")
    first, second = lines(tmp_path / "log.txt")
    assert first.startswith("INFO metamtl.trainer.progress: step 4/10  loss 0.5  accuracy 25.0%  12 tasks/s  ")
    assert second == "INFO metamtl.trainer.progress: here"
    assert "here" in capsys.readouterr().err


def test_other_processes_say_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with log_to(tmp_path / "log.txt"), Display("made", 10, 0, visible=False) as display:
        display.note("here")
    assert (tmp_path / "log.txt").read_text() == capsys.readouterr().err == ""
