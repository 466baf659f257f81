"""`metamtl bench`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metamtl.cli import main

WAVES = ("data=sinusoid", "task.shots=2", "task.queries=2", "trainer.meta_batch=2", "backbone.hidden=[4]")


def test_rows_of_a_shape_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bench.json"
    flags = ["--repeat", "1", "--memory", "none", "--engine", "auto,loop", "--order", "first,second"]
    assert main(["bench", "engine", *WAVES, *flags, "--json", str(file)]) == 0
    figures = json.loads(file.read_text())
    rows = figures["engine"]
    assert [(row["shape"], row["order"], row["who"]) for row in rows] == [
        ("own", order, who) for order in ("first", "second") for who in ("metamtl", "metamtl engine=loop")
    ]
    contract = {"shape", "order", "who", "ms", "error_float64", "peak_mb", "inner_steps"}
    assert all(contract <= row.keys() and row["ms"] > 0 and row["error_float64"] < 1e-4 for row in rows)
    assert figures["machine"]["versions"]["torch"]
    assert "own, second order" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "suite"),
        (["nothing"], "'engine', 'data', 'eval', 'startup'"),
        (["engine", "--order", "third"], "--order=third: choose first or second."),
        (["engine", "--device", "tpu"], "--device=tpu: choose cpu or cuda."),
        (["engine", "--repeat", "0"], "--repeat=0: at least 1."),
        (["engine", "--shapes", "S9"], "--shapes=S9: no such shape; there are S1,"),
        (["engine", "--memory", "S9"], "--memory=S9: no such shape"),
        (["engine", "words"], "words: overrides are KEY=VALUE."),
        (["engine", "--json", "/no/such/folder/x.json"], "there is no such folder"),
        (["data", "--shapes", "S1"], "--shapes is of the suite engine alone."),
        (["eval", "--device", "cuda"], "--device is of the suite engine alone."),
        (["engine", *WAVES, "algo.inner_step=1"], "algo.inner_steps"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2
    assert said in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    assert "engine|data|eval|startup" in capsys.readouterr().out
