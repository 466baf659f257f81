"""From paths to records: every kind of folder, and every way in which one can be damaged."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from metamtl.comparison import cached
from metamtl.comparison.collect import collect
from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.config_file import read_config
from metamtl.runs.folder import RunFolder, new_sweep
from metamtl.runs.lock import hold
from metamtl.runs.metrics import MetricStream
from metamtl.runs.result import write_result
from tests.comparison.made import config, finished, started


def test_outputs_multiruns_runs_and_patterns_give_each_run_once(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    run = finished(outputs)
    sweep = new_sweep(outputs, "sweep")
    jobs = [RunFolder.claim(sweep / str(number), config(seed=number), []) for number in range(2)]
    expected = {run.path, *(job.path for job in jobs)}
    assert {record.path for record in collect([tmp_path])} == expected
    assert {record.path for record in collect([outputs, run.path, f"{outputs}/*"])} == expected
    assert [record.name for record in collect([jobs[1].path])] == [f"{sweep.name}/1"]
    assert [record.path for record in collect([f"{outputs}/*maml*"])] == [run.path]


def test_a_record_knows_its_run(tmp_path: Path) -> None:
    (record,) = collect([finished(tmp_path, "anil", seed=3, changes={"task.shots": 5}).path])
    assert (record.state, record.reason, record.seed, record.finished) == ("completed", None, 3, True)
    assert (record.settings["task.shots"], record.settings["algo.name"]) == (5, "anil")
    assert record.validation("accuracy") == 0.5
    assert record.figures["accuracy"]["episodes"] == record.episodes("accuracy").size == 40
    assert record.progress() == (100, 100)
    curves = record.curves()
    assert curves["train/loss"].values.tolist() == [1 / 50, 1 / 100]
    assert curves["val/accuracy"].seconds.tolist() == [10.0]  # that of the line of training before it
    with pytest.raises(MetamtlError, match="no figures of single episodes for mse"):
        record.episodes("mse")


def test_the_validation_figure_is_that_of_what_was_chosen_there(tmp_path: Path) -> None:
    tried = [{"options": {"penalty": rate}, "val/accuracy": {"mean": mean}} for rate, mean in ((0.1, 0.7), (1.0, 0.5))]
    (record,) = collect([finished(tmp_path, validation=0.5, facts={"choices": tried}).path])
    assert record.validation("accuracy") == 0.7
    assert math.isnan(record.validation("loss"))


def test_evaluations_come_where_they_are_named_with_the_cost_of_their_run(tmp_path: Path) -> None:
    run = finished(tmp_path, validation=0.9)
    evaluation = run.new_evaluation(config(changes={"task.shots": 5}), [])
    write_result(evaluation, {"test": {"accuracy": {"mean": 0.5, "ci95": 0.1, "episodes": 4}}})
    evaluation.finish("completed")
    assert [record.kind for record in collect([tmp_path])] == ["run"]
    (record,) = collect([run.path / "eval"])
    assert (record.path, record.run, record.kind) == (evaluation.path, run.path, "evaluation")
    assert record.name == f"{run.path.name}/eval/{evaluation.path.name}"
    assert record.result is not None
    assert record.result["train"]["steps"] == 100
    assert math.isnan(record.validation("accuracy"))  # the run's was of other tasks
    assert record.curves()["train/loss"].steps.tolist() == [50, 100]


@pytest.mark.parametrize("name", ["meta.json", "config.yaml", "result.json"])
@pytest.mark.parametrize("damage", ["torn", "wrong", "missing", "no file", "nul"])
def test_a_damaged_folder_is_a_record_that_says_so(tmp_path: Path, name: str, damage: str) -> None:
    whole = finished(tmp_path, seed=0)
    path = finished(tmp_path, seed=1).path / name
    content = path.read_bytes()
    path.unlink()
    if damage == "no file":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"torn": content[: len(content) // 2] + b'"', "wrong": b"[1]", "nul": b"\0" * 9}[damage])
    records = {record.path: record for record in collect([tmp_path])}
    damaged = records[path.parent]
    assert (damaged.state, damaged.finished) == ("damaged", False)
    assert name in str(damaged.reason)
    assert records[whole.path].finished


def test_states_that_no_one_wrote_down(tmp_path: Path) -> None:
    """A run is lost when its process is gone: a real one that held it and was killed."""
    run = started(tmp_path)
    code = (
        "import os, sys; from pathlib import Path; from metamtl.runs.lock import hold\n"
        "with hold(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    assert collect([tmp_path])[0].state == "running"  # nobody held it yet
    with hold(run.path):
        assert collect([tmp_path])[0].state == "running"
    subprocess.run([sys.executable, "-c", code, str(run.path)], check=False)
    (record,) = collect([tmp_path])
    assert record.state == "lost"
    assert f"metamtl resume {run.path}" in str(record.reason)
    (run.path / ".lock").write_text(json.dumps({"pid": 1 << 22, "host": "another"}))
    assert collect([tmp_path])[0].state == "running"  # of another machine nothing is known


def test_jobs_that_never_had_a_run_are_told(tmp_path: Path) -> None:
    sweep = new_sweep(tmp_path, "sweep")
    RunFolder.claim(sweep / "0", config(), [])
    lines = [
        {"folder": f"/moved/since/{number}", "overrides": [], "status": status, "reason": reason}
        for number, (status, reason) in enumerate([("completed", ""), ("failed", "No data."), ("skipped", "")])
    ]
    (sweep / "jobs.jsonl").write_text("\n".join([*map(json.dumps, lines), '{"folder"']))
    states = {record.path.name: (record.state, record.reason) for record in collect([tmp_path])}
    assert states == {
        "0": ("running", None),
        "1": ("failed", "No data."),
        "2": ("skipped", "The multirun was stopped."),
    }


def test_paths_that_are_not_there_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert collect([tmp_path]) == []
    with pytest.raises(UsageError) as caught:
        collect([tmp_path, tmp_path / "nowhere", f"{tmp_path}/*x*", tmp_path / "file"])
    assert [problem.split()[0].rstrip(":") for problem in caught.value.problems] == [
        f"{tmp_path}/nowhere",
        f"{tmp_path}/*x*",
        f"{tmp_path}/file",
    ]


def test_a_second_look_reads_only_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [finished(tmp_path, seed=seed) for seed in range(3)]
    read: list[Path] = []

    def counting(path: Path) -> object:
        read.append(path)
        return read_config(path)

    monkeypatch.setattr(cached, "read_config", counting)
    for record in collect([tmp_path]):
        record.curves()
    assert len(read) == 3
    collect([tmp_path])
    assert len(read) == 3
    with MetricStream(runs[1].metrics_file) as stream:
        stream.write(150, "train", {"train/loss": 0.0})
    assert [record.curves()["train/loss"].steps.size for record in collect([tmp_path])] == [2, 3, 2]
    runs[1].config_file.write_text("seed: 7\n")
    assert sorted(record.seed or 0 for record in collect([tmp_path])) == [0, 2, 7]
    assert len(read) == 4


def test_a_stream_that_is_damaged_gives_what_is_whole(tmp_path: Path) -> None:
    run = finished(tmp_path)
    with run.metrics_file.open("ab") as file:
        file.write(b'nonsense\n{"step": 150, "train/loss": "NaN"}\n{"step": "x", "train/loss": 1}\n{"step": 200, "tr')
    (record,) = collect([tmp_path])
    assert record.curves()["train/loss"].steps.tolist() == [50, 100, 150]
    assert record.progress() == (150, 100)


def test_links_in_a_circle_and_folders_that_cannot_be_read_are_passed_by(tmp_path: Path) -> None:
    run = finished(tmp_path / "outputs")
    (tmp_path / "outputs" / "loop").symlink_to(tmp_path, target_is_directory=True)
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0)
    try:
        assert [record.path for record in collect([tmp_path])] == [run.path]
    finally:
        closed.chmod(0o700)
    shutil.rmtree(run.path / "checkpoints", ignore_errors=True)
    os.truncate(run.metrics_file, 0)
    assert collect([tmp_path])[0].progress() is None


def test_a_pruned_trial_is_a_run_that_was_ended_and_no_damaged_one(tmp_path: Path) -> None:
    run = started(tmp_path)
    run.finish("pruned", "Its validation fell behind the median.")
    (record,) = collect([tmp_path])
    assert (record.state, record.reason) == ("pruned", "Its validation fell behind the median.")
