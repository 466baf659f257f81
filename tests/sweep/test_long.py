"""Sweeps that take longer: pruning from end to end, and jobs of submitit's local cluster and of SLURM."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from metamtl.cli import main
from tests.sweep.commands import TINY, begin, ended, metas, only_sweep, report

pytestmark = pytest.mark.slow


def test_poor_trials_are_pruned_and_their_runs_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = ("sweep.trials=10", "sweep.seeds=0", "sweep.pruner=median", "sweep.sampler=random", "trainer.steps=12")
    assert main(["sweep", *TINY, "space.trainer.optimizer.lr=choice(0.001,0.3)", *own]) == 0
    sweep = only_sweep(tmp_path)
    trials = report(sweep)["trials"]
    assert {trial["state"] for trial in trials} == {"complete", "pruned"}
    for trial in trials:
        meta = json.loads((sweep / str(trial["number"]) / "meta.json").read_text())
        assert meta["status"] == {"complete": "completed", "pruned": "pruned"}[trial["state"]]
        assert meta["reason"] == trial["reason"]
        if trial["state"] == "pruned":
            last = max(map(int, trial["validations"]))
            assert f"Pruned by the median rule at step {last}" in trial["reason"]
            assert not (sweep / str(trial["number"]) / "result.json").exists()


@pytest.mark.parametrize("cluster", ["local", "slurm"])
def test_jobs_of_a_cluster_share_the_sweep(cluster: str, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    if cluster == "slurm" and (
        shutil.which("sinfo") is None or subprocess.run(["sinfo"], capture_output=True).returncode
    ):
        pytest.skip("there is no SLURM here")
    own = (
        "sweep.trials=4",
        "sweep.seeds=1",
        "sweep.jobs=2",
        f"sweep.cluster={cluster}",
        "sweep.slurm={timeout_min: 10}",
    )
    said = ended(begin(tmp_path, *TINY, *own))
    assert "submitted as " in said
    sweep = only_sweep(tmp_path)
    assert (sweep / "study.journal").exists()
    said = ended(begin(tmp_path, "--continue", str(sweep)))  # waits for what the jobs train
    assert "4 complete" in said or "Another command runs the winners again." in said
    assert [trial["state"] for trial in report(sweep)["trials"]] == ["complete"] * 4
    assert len(metas(sweep)) >= 4
    logs = list((sweep / "jobs").glob("*_log.out"))
    assert len(logs) == 2


def test_a_cluster_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("submitit")
    outputs = f"paths.outputs={tmp_path}"
    assert main(["sweep", *TINY, outputs, "sweep.jobs=1", "sweep.slurm={slurm_partition: gpu, wrong: 1}"]) == 2
    assert "submitit refuses" in capsys.readouterr().err
