from __future__ import annotations

import math
import multiprocessing
import re
import time
from pathlib import Path

import pytest
import yaml

from metamtl.errors import MetamtlError
from metamtl.runs.folder import RunFolder, new_sweep
from metamtl.runs.identity import safe_label

CONFIG = {
    "seed": 3,
    "algo": {"name": "maml", "rate": 1e-5, "text": "1e-3", "far": math.inf, "none": None},
    "l": [1, "on"],
}


def _create(outputs: Path, label: str = "maml-omniglot-s0") -> RunFolder:
    return RunFolder.create(outputs, CONFIG, ["metamtl", "train"], label)


def test_a_new_run_says_what_it_is(tmp_path: Path) -> None:
    run = _create(tmp_path / "deep" / "outputs")
    assert re.fullmatch(r"\d{8}-\d{6}-maml-omniglot-s0", run.path.name)
    meta = run.meta()
    assert (meta["id"], meta["seed"], meta["status"], meta["reason"]) == (run.path.name, 3, "running", None)
    assert run.config() == CONFIG
    assert RunFolder.open(run.path) == run
    run.update_meta(device="cpu")
    run.finish("failed", "no luck: api_key=abc")
    assert run.meta()["device"] == "cpu"
    assert (run.meta()["status"], run.meta()["reason"]) == ("failed", "no luck: api_key=***")
    assert run.meta()["ended"] >= run.meta()["started"]


def test_the_config_reads_the_same_where_1e_3_is_a_number(tmp_path: Path) -> None:
    text = _create(tmp_path).config_file.read_text()
    assert "text: '1e-3'" in text
    assert yaml.safe_load(text)["algo"]["rate"] == 1e-5
    assert list(yaml.safe_load(text)) == list(CONFIG)


def test_ids_are_unique_with_the_clock_standing_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((2026, 11, 22, 3, 11, 54, 6, 326, 0)))
    names = [_create(tmp_path, "x").path.name for _ in range(3)]
    assert names == ["20261122-031154-x", "20261122-031154-x-2", "20261122-031154-x-3"]


def test_ids_are_unique_among_processes(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        paths = [run.path for run in pool.map(_create, [tmp_path] * 24)]
    assert len(set(paths)) == 24
    assert all(RunFolder.open(path).meta()["id"] == path.name for path in paths)


@pytest.mark.parametrize(
    "label",
    ["../../etc/passwd", "a/b\\c", "", "...", "\x00\n", "-rf", "x" * 500, "データ", "a b;rm $HOME`", "..", "CON: *?"],
)
def test_hostile_labels_stay_in_the_outputs_folder(tmp_path: Path, label: str) -> None:
    run = _create(tmp_path, label)
    assert run.path.parent == tmp_path
    assert re.fullmatch(r"[\w.-]+", run.path.name, re.ASCII)
    assert ".." not in run.path.name
    assert len(run.path.name) < 110
    assert safe_label("Müller+1 s0") == "Muller-1-s0"


def test_a_job_claims_the_folder_it_is_given_once(tmp_path: Path) -> None:
    sweep = new_sweep(tmp_path, "sweep")
    assert new_sweep(tmp_path, "sweep") != sweep
    (sweep / "0").mkdir()
    assert RunFolder.claim(sweep / "0", CONFIG, []).meta()["id"] == "0"
    RunFolder.claim(sweep / "1", CONFIG, [])
    with pytest.raises(MetamtlError, match=r"already holds a run: choose another folder, or run `metamtl resume"):
        RunFolder.claim(sweep / "1", {"seed": 9}, [])
    assert RunFolder.open(sweep / "1").config() == CONFIG


def test_what_is_no_run_folder_is_told(tmp_path: Path) -> None:
    run = _create(tmp_path)
    evaluation = run.new_evaluation({"eval": {"episodes": 5}}, ["metamtl", "eval"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    broken = _create(tmp_path, "broken")
    broken.meta_file.write_text("{")
    lost = _create(tmp_path, "lost")
    lost.config_file.unlink()
    for path, words in (
        (tmp_path / "absent", "There is no run folder"),
        (tmp_path / "file", "is a file, not a run folder"),
        (tmp_path / "empty", "is not a run folder: it has no meta.json"),
        (tmp_path, "holds 3 runs and is none itself: give one, such as"),
        (evaluation.path, f"is an evaluation of the run {re.escape(str(run.path))}"),
        (broken.path, "is damaged: it is not JSON"),
        (lost.path, "has lost its config.yaml"),
    ):
        with pytest.raises(MetamtlError, match=words):
            RunFolder.open(path)


def test_evaluations_have_folders_of_their_own(tmp_path: Path) -> None:
    run = _create(tmp_path)
    first, second = (run.new_evaluation({"n": n}, ["metamtl", "eval"], "test-5w5s") for n in (1, 2))
    assert first.path.parent == second.path.parent == run.path / "eval"
    assert (first.config(), second.config()) == ({"n": 1}, {"n": 2})
    assert first.meta()["kind"] == "evaluation"
    assert not run.result_file.exists()


def test_a_resumed_run_keeps_its_history(tmp_path: Path) -> None:
    run = _create(tmp_path)
    run.finish("interrupted", "SIGTERM")
    run.resume(["metamtl", "resume", "x", "hf_token=abc"])
    meta = run.meta()
    assert (meta["status"], meta["ended"], meta["reason"]) == ("running", None, None)
    assert meta["command"] == ["metamtl", "train"]
    assert meta["resumed"][0]["command"] == ["metamtl", "resume", "x", "hf_token=***"]


def test_outputs_that_cannot_be_made_are_told(tmp_path: Path) -> None:
    (tmp_path / "outputs").touch()
    with pytest.raises(MetamtlError, match=r"Cannot write .*outputs"):
        _create(tmp_path / "outputs")
