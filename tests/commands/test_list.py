"""`metamtl list`."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from metamtl.cli import main
from metamtl.config import paths
from metamtl.config.compose import compose
from tests.config.options import TOY, write


def test_json_of_one_group_and_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "algo", "--json"]) == 0
    algos = json.loads(capsys.readouterr().out)
    maml = next(option for option in algos if option["name"] == "maml")
    assert maml["summary"]
    assert maml["year"] == 2017
    assert main(["list", "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)
    assert groups["algo"] == algos
    assert {"data", "backbone", "trainer"} <= groups.keys()


def test_plain_lines_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "backbone"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split("\t")[:2] == ["backbone", "conv4"] for line in lines)


def test_a_users_options_are_listed_and_a_torn_file_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {"data/toy.yaml": TOY, "data/torn.yaml": "a: [1\n"})
    assert main(["list", "data", "--json", "--config-dir", str(tmp_path)]) == 0
    options = {option["name"]: option for option in json.loads(capsys.readouterr().out)}
    assert options["toy"]["summary"] == "Made up"
    assert options["torn"]["summary"].startswith("unreadable")


def test_an_installed_packages_options_are_listed_and_compose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"theirs/__init__.py": "raise ImportError('not to be imported')", "theirs/conf/data/toy.yaml": TOY})
    point = EntryPoint("theirs", "theirs.conf", paths.GROUP)
    monkeypatch.setattr(paths, "entry_points", lambda group: [point])
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert main(["list", "data", "--json"]) == 0
    assert "toy" in {option["name"] for option in json.loads(capsys.readouterr().out)}
    assert compose(["data=toy"])["data"]["name"] == "toy"


def test_a_wrong_group_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "algos"]) == 2
    assert capsys.readouterr().err.startswith("algos: no such group; did you mean algo?")
