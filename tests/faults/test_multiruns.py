"""A multirun that is killed or interrupted: one command brings it to where an unbroken one is."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path

import pytest

from metamtl.commands import multirun_request
from tests.faults.said import said
from tests.trainer.processes import command, ended, start
from tests.trainer.runs import assert_same, files, step_of

RUNS = 3
WORDS = (
    "train",
    "-m",
    "algo=maml",
    "data=sinusoid",
    "engine=loop",
    "backbone.hidden=[4]",
    "trainer.device=cpu",
    "trainer.steps=60",
    "trainer.validate_every=30",
    "trainer.checkpoint_every=2",
    "trainer.pictures=0",
    "trainer.pool=threads",
    "eval.val_episodes=2",
    "eval.episodes=4",
    "eval.gap_episodes=0",
    "seed=range(3)",
)


def only_multirun(folder: Path) -> Path:
    (found,) = (folder / "outputs").iterdir()
    return found


def _second_run_trains(folder: Path) -> bool:
    return any(step_of(run) >= 4 for run in folder.glob("outputs/*/1"))


@pytest.mark.slow
def test_a_multirun_that_was_stopped_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    ended(command(*WORDS), tmp_path / "whole")
    unbroken = only_multirun(tmp_path / "whole")
    for number in (signal.SIGKILL, signal.SIGINT):
        place = tmp_path / number.name
        running = start(command(*WORDS), place)
        running.wait_for(partial(_second_run_trains, place))
        running.send(number)
        assert running.end() == (130 if number == signal.SIGINT else -signal.SIGKILL)
        multirun = only_multirun(place)
        if number == signal.SIGINT:
            advice = f"Go on with: metamtl resume outputs/{multirun.name}"
            assert f"1 completed, 1 interrupted, 1 skipped. {advice}" in running.out
        complete = files(multirun / "0")
        assert not (multirun / "2" / "meta.json").exists()

        # from elsewhere: paths start from where the multirun was begun
        again = ended(command("resume", str(multirun)), tmp_path / "elsewhere")
        assert again.out.splitlines()[-1].endswith(f"{multirun.name}: {RUNS} completed.")
        assert files(multirun / "0") == complete
        for name in map(str, range(RUNS)):
            assert_same(multirun / name, unbroken / name)
            resumed = json.loads((multirun / name / "meta.json").read_text())["resumed"]
            assert len(resumed) == (name == "1")
        assert len((multirun / "jobs.jsonl").read_text().splitlines()) == RUNS
        assert not (tmp_path / "elsewhere" / "outputs").exists()

        whole = files(multirun)
        ended(command("resume", str(multirun)), place)
        assert {path.name for path, content in files(multirun).items() if whole[path] != content} <= {".lock"}


def test_what_cannot_go_on_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    multirun_request.remember(tmp_path, ["-m", "data=sinusoid", "seed=0,1", "note.api_key=abcdefgh12"])
    assert "note.api_key was given to this multirun and holds a secret" in said(capsys, "resume", tmp_path).err
    refused = said(capsys, "resume", tmp_path, "trainer.steps=5")
    assert (refused.code, refused.err) == (
        2,
        f"{tmp_path} is a multirun, which goes on as it began: leave out trainer.steps=5, or resume one of its runs.\n",
    )
    for content in ("{", "[]", '{"arguments": 3}'):
        (tmp_path / multirun_request.FILE).write_text(content)
        assert multirun_request.FILE in said(capsys, "resume", tmp_path).err
