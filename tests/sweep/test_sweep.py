"""A sweep from the command line to its folder: trials judged by validation, winners tested, failures told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from metamtl.cli import main
from metamtl.config.paths import own_folder
from metamtl.sweep.probe import decide
from tests.sweep.commands import TINY, metas, only_sweep, report

BROKEN = """
from metamtl.algos.maml import MAML
from metamtl.registry import register

@register("algo", "broken")
class Broken(MAML):
    def outer_loss(self, task):
        if self.training:
            raise RuntimeError("broken in training")
        return super().outer_loss(task)
"""


def of(run: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / name).read_text())
    return content


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six trials of which those with an absurd learning rate diverge, and the winner with two seeds."""
    folder = tmp_path_factory.mktemp("sweep")
    space = "space.trainer.optimizer.lr=choice(0.001,1e30)"
    own = ("sweep.trials=6", "sweep.workers=2", "sweep.seeds=2", "sweep.sampler=random", "sweep.seed=1", "seed=7")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["sweep", *TINY, space, *own]) == 0
    return only_sweep(folder)


def test_as_many_trials_as_asked_finish_and_diverged_ones_say_why(sweep: Path) -> None:
    trials = report(sweep)["trials"]
    assert [trial["number"] for trial in trials] == list(range(6))
    assert {trial["state"] for trial in trials} == {"complete", "diverged"}
    for trial in trials:
        absurd = trial["params"]["trainer.optimizer.lr"] == "1e30"
        assert trial["state"] == ("diverged" if absurd else "complete")
        assert (trial["value"] is None) == absurd
        assert of(sweep / str(trial["number"]), "meta.json")["status"] == ("failed" if absurd else "completed")
        assert not absurd or "is not finite" in trial["reason"]
        assert absurd or trial["reason"] is None


def test_a_trial_is_an_ordinary_run_that_saw_no_test_class(sweep: Path) -> None:
    for trial in report(sweep)["trials"]:
        run = sweep / str(trial["number"])
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert config["algo"]["inner_lr"] == trial["params"]["algo.inner_lr"]
        assert config["trainer"]["threads"] == 1
        assert config["seed"] == 7
        if trial["state"] == "complete":
            result = of(run, "result.json")
            assert result["split"] == "val"
            assert trial["value"] == result["best"]["val/mse"] == min(trial["validations"].values())
            assert result["test"]["mse"]["mean"] == pytest.approx(trial["value"], rel=1e-12)


def test_the_winner_is_tested_with_new_seeds(sweep: Path) -> None:
    found = report(sweep)
    values = {trial["number"]: trial["value"] for trial in found["trials"] if trial["state"] == "complete"}
    assert found["best"] == min(values, key=lambda number: (values[number], number))
    (winner,) = found["winners"]
    assert winner["number"] == found["best"]
    assert [run["seed"] for run in winner["runs"]] == [8, 9]
    results = [of(sweep / f"{found['best']}-s{seed}", "result.json") for seed in (8, 9)]
    assert {result["split"] for result in results} == {"test"}
    assert results[0]["test"]["mse"]["episodes"] == 4
    assert results[0]["episodes_id"] == results[1]["episodes_id"]
    means = [result["test"]["mse"]["mean"] for result in results]
    assert means[0] != means[1]
    assert winner["test"]["mean"] == pytest.approx(sum(means) / 2)


def test_figures_and_no_empty_folders(sweep: Path) -> None:
    assert (sweep / "plots" / "history.png").read_bytes().startswith(b"\x89PNG")
    importance = report(sweep)["importance"]
    assert not importance or sum(importance.values()) == pytest.approx(1)
    assert not list((sweep / ".owners").iterdir())
    assert "validation mse" in (sweep / "output" / f"{report(sweep)['best']}.txt").read_text()


def test_a_finished_sweep_may_be_longer(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = report(sweep)
    kept = {run: of(sweep / run, "meta.json")["ended"] for run in metas(sweep)}
    assert main(["sweep", "--continue", str(sweep), "sweep.trials=7", "sweep.seeds=0"]) == 0
    out = capsys.readouterr().out
    after = report(sweep)
    assert after["trials"][: len(before["trials"])] == before["trials"]
    assert [trial["number"] for trial in after["trials"]] == list(range(7))
    assert {run: of(sweep / run, "meta.json")["ended"] for run in kept} == kept
    complete = sum(trial["state"] == "complete" for trial in after["trials"])
    assert out.splitlines()[-1].endswith(f": {complete} complete, {7 - complete} diverged.")


def test_a_sweep_in_which_every_trial_diverges_has_no_winner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", *TINY, "trainer.optimizer.lr=1e30", "sweep.failures=0", "sweep.trials=2"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        "No trial was completed (2 diverged), so none is the best: narrow the space of algo.inner_lr"
    )
    assert report(only_sweep(tmp_path))["winners"] == []


def test_too_many_failures_end_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own" / "algo"
    own.mkdir(parents=True)
    (own / "broken.py").write_text(BROKEN)
    (own / "broken.yaml").write_text(
        (own_folder() / "algo" / "maml.yaml").read_text().replace("name: maml", "name: broken")
    )
    words = ("algo=broken", "--config-dir", "own", "sweep.failures=1", "sweep.trials=9")
    assert main(["sweep", *TINY, *words]) == 1
    said = capsys.readouterr().err
    assert said.startswith("2 trials failed, more than sweep.failures=1; the last: ")
    assert f"metamtl sweep --continue {only_sweep(tmp_path)} sweep.failures=N" in said
    assert [trial["state"] for trial in report(only_sweep(tmp_path))["trials"]] == ["failed", "failed"]


def test_what_cannot_be_trained_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", *TINY, "sweep.metric=accuracy"]) == 2
    assert capsys.readouterr().err == "sweep.metric=accuracy: validation measures loss, mse.\n"
    assert main(["sweep", *TINY, "+trainer.stages.nowhere.steps=3"]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


def test_validation_alone_decides() -> None:
    options = {"metric": None, "direction": "auto"}
    figures = ["loss", "accuracy", "f1"]
    assert decide(options, "accuracy", True, figures) == ("accuracy", True)
    assert decide({**options, "metric": "val/loss"}, "accuracy", True, figures) == ("loss", False)
    assert decide({"metric": "f1", "direction": "maximize"}, "accuracy", True, figures) == ("f1", True)
    with pytest.raises(Exception, match=r"Test figures never decide\."):
        decide({**options, "metric": "test/accuracy"}, "accuracy", True, figures)
    with pytest.raises(Exception, match="say where it is better"):
        decide({**options, "metric": "f1"}, "accuracy", True, figures)
