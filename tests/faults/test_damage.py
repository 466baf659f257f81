"""A finished run with one of its files cut, overwritten or replaced: told, or gone on from, and nothing else lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import metamtl
from metamtl.errors import MetamtlError
from tests.faults.said import said
from tests.trainer.runs import STEPS, Runs, files, step_of


def damaged(content: bytes) -> dict[str, bytes]:
    """What a disk, an editor or an enemy may leave in place of a file."""
    middle = len(content) // 2
    return {
        "empty": b"",
        "half": content[:middle],
        "all but its end": content[:-2],
        "without its last lines": b"\n".join(content.split(b"\n")[:-3]) + b"\n",
        "a byte changed": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
        "zeros": bytes(len(content)),
        "another thing": b'{"a": 1}',
        "a list": b"[1]",
        "nothing": b"null",
        "nested": b"[" * 3000 + b"]" * 3000,
        "nested and cut": b"[" * 3000,
    }


FORMS = list(damaged(b"x" * 9))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["config.yaml", "meta.json"])
def test_a_run_that_does_not_say_what_it_is_is_refused_and_left_as_it_is(
    whole: Path, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, form: str
) -> None:
    run = runs.copy(whole, tmp_path)
    content = damaged((run / name).read_bytes())[form]
    (run / name).write_bytes(content)
    before = files(run)
    for words in (("resume", run, f"trainer.steps={STEPS + 2}"), ("eval", run)):
        found = said(capsys, *words)
        assert (found.code, found.err.count("\n"), found.out) == (1, 1, "")
        assert "is damaged: it " in found.err
    with pytest.raises(MetamtlError, match="is damaged: it "):
        metamtl.load(run, device="cpu")
    assert files(run) == before


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["config.yaml", "meta.json", "result.json"])
def test_one_damaged_run_does_not_hide_another(
    whole: Path, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, form: str
) -> None:
    run = runs.copy(whole, tmp_path)
    shutil.copytree(whole, run.with_name("sound"))
    (run / name).write_bytes(damaged((run / name).read_bytes())[form])
    found = said(capsys, "compare", run.parent, "--format", "json")
    assert found.code == 0
    rows = [row for section in json.loads(found.out)["sections"] for row in section["rows"]]
    assert str(run.with_name("sound")) in {counted["path"] for row in rows for counted in row["runs"]}


@pytest.mark.parametrize("form", FORMS)
def test_damaged_figures_cost_the_weights_nothing(
    whole: Path, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    run = runs.copy(whole, tmp_path)
    for name in ("metrics.jsonl", "episodes.npy"):
        (run / name).write_bytes(damaged((run / name).read_bytes())[form])
    assert said(capsys, "compare", run).code == 0
    assert said(capsys, "resume", run, f"trainer.steps={STEPS + 2}").code == 0
    assert step_of(run) == STEPS + 2
    assert np.load(run / "episodes.npy").shape[0] == 20


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["last.pt", "last.json", "best.pt", "best.json"])
def test_a_damaged_checkpoint_is_never_taken_for_a_sound_one(
    whole: Path, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, form: str
) -> None:
    run = runs.copy(whole, tmp_path)
    checkpoint = run / "checkpoints" / name
    checkpoint.write_bytes(damaged(checkpoint.read_bytes())[form])
    if name.startswith("last"):
        found = said(capsys, "resume", run, f"trainer.steps={STEPS + 2}")
        assert (found.code, step_of(run)) == (0, STEPS + 2)
        assert "going on from previous.pt" in found.err + found.out + (run / "log.txt").read_text()
    else:
        with pytest.raises(MetamtlError, match="No sound checkpoint 'best'"):
            metamtl.load(run, device="cpu")
