"""`metamtl doctor`, and the arguments of `eval` and `resume`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from metamtl import registry
from metamtl.cli import main


def test_doctor_names_what_is_missing_with_its_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from metamtl.commands import doctor

    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "optuna" else known(name))
    places = [f"paths.{key}={tmp_path / key}" for key in ("data", "outputs", "cache")]
    assert main(["doctor", *places]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    found = {name: (mark, text) for mark, name, text in lines}
    assert found["torch"][0] == "ok"
    assert found["extra sweep"] == ("--", "pip install 'metamtl[sweep]'  (missing: optuna)")
    assert found["data=omniglot"][0] == "--"
    assert found["paths.outputs"][1].startswith(str(tmp_path / "outputs"))
    assert found["paths.data"] == ("--", f"{tmp_path / 'data'}: there is no such folder; mkdir -p {tmp_path / 'data'}")
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "torchjd" else known(name))
    assert main(["doctor", *places]) == 1
    assert "missing: pip install 'torchjd" in capsys.readouterr().out


def test_doctor_refuses_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["doctor", f"paths.outputs={tmp_path / 'file' / 'inside'}"]) == 1
    assert "paths.outputs" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["eval", "resume", "adapt", "export", "predict"])
@pytest.mark.parametrize("form", ["--config-dir FOLDER", "--config-dir=FOLDER", "-cd FOLDER"])
def test_options_of_ones_own_are_found_by_every_verb_that_takes_a_run(
    verb: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "FOLDERS", [])
    (tmp_path / "own").mkdir()
    flag = form.replace("FOLDER", "own").split()
    for words in ((verb, "run", *flag), (verb, *flag, "run")):
        assert main([*words, "--no-such-flag"]) == 2  # for what is wrong besides
        assert "config-dir" not in capsys.readouterr().err
    (found,) = registry.FOLDERS
    assert found == tmp_path / "own"
    assert main([verb, "run", form.replace("FOLDER", "nowhere").split()[0].partition("=")[0]]) == 2
    assert "which folder?" in capsys.readouterr().err
    assert main([verb, "run", "--config-dir", "nowhere"]) == 2
    assert capsys.readouterr().err == "--config-dir nowhere: there is no such folder.\n"


@pytest.mark.parametrize(
    ("verb", "module", "function"),
    [
        ("eval", "metamtl.evaluation.run", "evaluate_run"),
        ("resume", "metamtl.trainer.run", "resume_run"),
    ],
)
def test_the_run_and_its_overrides_arrive(
    verb: str,
    module: str,
    function: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[Any] = []
    stub = ModuleType(module)
    setattr(stub, function, lambda *arguments: seen.append(arguments))
    monkeypatch.setitem(sys.modules, module, stub)
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert main([verb, "task.shots=5", str(odd), "eval.episodes=10"]) == 0
    assert seen == [(odd, ["task.shots=5", "eval.episodes=10"])]
    assert main([verb]) == 2
    assert main([verb, "one", "two", "--fast"]) == 2
    assert "metamtl" in capsys.readouterr().err
    assert len(seen) == 1
