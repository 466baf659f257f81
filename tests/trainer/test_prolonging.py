"""A run that ends between two lines of metrics, and one that is trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from metamtl.runs import metrics
from metamtl.trainer.run import resume_run
from tests.trainer.runs import Runs, assert_same, resumed, weights


def _losses(run: Path) -> dict[int, float]:
    lines = metrics.read(run / "metrics.jsonl")
    return {line["step"]: line["train/loss"] for line in lines if line["split"] == "train"}


def test_the_last_steps_have_their_line(runs: Runs) -> None:
    every = _losses(runs.finished("sinusoid", "trainer.steps=13", "trainer.log_every=1"))
    found = _losses(runs.finished("sinusoid", "trainer.steps=13"))
    assert list(found) == [5, 10, 13]
    assert found[13] == pytest.approx(sum(every[step] for step in (11, 12, 13)) / 3, rel=1e-6)


@pytest.mark.parametrize("kind", ["sinusoid", "protonet"])
def test_an_end_between_two_of_anything_leaves_no_trace_in_a_run_trained_on(
    runs: Runs, tmp_path: Path, kind: str
) -> None:
    """Step 13 is no step of a checkpoint, a validation or a line: what the first end adds goes again."""
    run = runs.copy(runs.finished(kind, "trainer.steps=13"), tmp_path)
    resumed(run, "trainer.steps=20")
    assert_same(run, runs.finished(kind, "trainer.steps=20"))


@pytest.mark.parametrize(("schedule", "told"), [("cosine", True), ("linear", True), ("constant", False)])
def test_a_schedule_that_is_stretched_is_told(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str], schedule: str, told: bool
) -> None:
    few = (f"trainer.schedule.name={schedule}", "trainer.steps=2", "trainer.meta_batch=2")
    run = runs.copy(runs.finished("sinusoid", *few), tmp_path)
    resume_run(run, ["eval.episodes=10"])
    assert "schedule now ends" not in capsys.readouterr().out
    resume_run(run, ["trainer.steps=4"])
    note = f"The {schedule} schedule now ends at step 4: the rate rises again from here."
    assert (note in capsys.readouterr().out) == told
    assert weights(run)["progress"]["total"] == 4
