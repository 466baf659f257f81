"""`metamtl list`."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from metamtl.cli import main
from metamtl.commands.option_keys import keys_of_option
from metamtl.config import paths
from metamtl.config.compose import compose
from metamtl.config.library import Library, Option
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


def test_one_option_with_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "transfer", "finetune"]) == 0
    first, summary, _, *keys = capsys.readouterr().out.splitlines()
    assert first == "transfer=finetune" and summary.startswith("The target begins with the source's backbone")
    rows = [line.split("\t") for line in keys]
    assert [row[0] for row in rows] == [
        "transfer.source=null",
        "transfer.finetune.name=finetune",
        "transfer.finetune.backbone_rate=0.1",
        "transfer.finetune.head=false",
    ]
    assert rows[2][1:] == ["float >= 0", "learning rate of the backbone as a share of the run's"]
    assert main(["list", "data", "sinusoid", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["keys"]["backbone"]["value"] == "mlp" and found["keys"]["task.shots"]["value"] == "10"
    assert found["keys"]["data.amplitude"]["value"] == "[0.1, 5.0]" and found["keys"]["data.amplitude"]["help"]
    assert main(["list", "algo", "mamls"]) == 2
    assert capsys.readouterr().err == (
        "algo=mamls: there is no such option; did you mean maml? `metamtl list algo` shows all.\n"
    )


@pytest.mark.parametrize("option", Library([paths.own_folder()]).options(), ids=lambda o: f"{o.group}={o.name}")
def test_the_keys_shown_are_those_that_can_be_typed(option: Option) -> None:
    """Every key that the file declares is there, with the value that it sets."""
    shown = {key.key: key for key in keys_of_option(option, Library([paths.own_folder()]))}
    assert {key for key in option.entries if key != f"{option.section}.name"} <= shown.keys()
    for place, entry in option.entries.items():
        if place in option.values and "${" not in shown[place].value:
            assert entry.help == shown[place].help
            assert not any(key.startswith(f"{place}.") for key in shown)


def test_a_variant_has_the_keys_of_the_method_that_it_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {"algo/mine.yaml": "# @package _global_\nalgo:\n  name: maml\n  inner_lr: 0.5\n"})
    assert main(["list", "algo", "mine", "--config-dir", str(tmp_path)]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert ["algo.inner_lr=0.5", "float >= 0", "inner learning rate in training, for a mean loss"] in rows


def test_a_wrong_group_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "algos"]) == 2
    assert capsys.readouterr().err.startswith("algos: no such group; did you mean algo?")
