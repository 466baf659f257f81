"""`metamtl dashboard` and `metamtl report` as they are typed."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import pytest

from metamtl.cli import main
from tests.comparison.made import finished


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    finished(tmp_path / "outputs", "maml")
    return tmp_path / "outputs"


def test_it_serves_until_interrupted_and_writes_nothing(outputs: Path) -> None:
    before = {path: path.read_bytes() for path in outputs.rglob("*") if path.is_file()}
    command = [sys.executable, "-m", "metamtl", "dashboard", str(outputs), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None and served.stderr is not None
        try:
            address = served.stdout.readline().split()[0]
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert b"metamtl" in answer.read()
        finally:
            served.send_signal(signal.SIGINT)
        assert served.wait(60) == 0
        assert served.stderr.read() == ""
    assert {path: path.read_bytes() for path in outputs.rglob("*") if path.is_file()} == before


def test_a_report_is_written_once(outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "report.html"
    words = ["report", str(outputs), "-o", str(target)]
    assert main([*words, "--where", "algo=maml", "--view", "http://127.0.0.1:8050/curves?smooth=0.9"]) == 0
    assert "1 run" in capsys.readouterr().out
    text = target.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "smoothing: 0.9" in text
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dashboard", "nowhere"], "nowhere: there is no such folder"),
        (["dashboard", "--port", "70000"], "is no port"),
        (["dashboard", "--fast"], "--fast"),
        (["report", "nowhere", "-o", "x.html"], "nowhere: there is no such folder"),
        (["report", "OUTPUTS"], "-o"),
        (["report", "OUTPUTS", "-o", "x.html", "--where", "shot=1"], "did you mean task.shots?"),
        (["report", "OUTPUTS", "-o", "x.html", "--where", "algo=anil"], "no runs there"),
        (["report", "OUTPUTS", "-o", "x.html", "--metric", "mse"], "mse: no run has this figure"),
    ],
)
def test_wrong_usage_is_told_and_ends_with_2(
    outputs: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(outputs.parent)
    assert main([str(outputs) if word == "OUTPUTS" else word for word in words]) == 2
    assert said in capsys.readouterr().err


def test_without_dash_one_sentence_says_what_to_install(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with patch("metamtl.commands.dashboard.find_spec", lambda name: None if name == "dash" else find_spec(name)):
        assert main(["dashboard", str(outputs)]) == 1
        assert main(["report", str(outputs), "-o", "x.html"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said == ["The dashboard and reports need Dash and Plotly: pip install 'metamtl[dashboard]'"] * 2


def test_another_host_is_warned_of(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with patch("werkzeug.serving.BaseWSGIServer.serve_forever", side_effect=KeyboardInterrupt):
        assert main(["dashboard", str(outputs), "--host", "0.0.0.0", "--port", "0"]) == 0
    assert "Warning: there is no password" in capsys.readouterr().err
