"""`metamtl compare` as it is typed."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from metamtl.cli import main
from metamtl.commands.compare import FORMATS, HELP, _parse
from tests.comparison.made import finished, noisy, started


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for seed in range(2):
        finished(tmp_path, "maml", seed, accuracy=noisy(0.9, seed), validation=0.9)
        finished(tmp_path, "anil", seed, accuracy=noisy(0.7, 9 + seed), changes={"algo.inner_lr": 0.1})
    return tmp_path


def test_a_table_with_what_is_not_finished_below(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started(outputs, "protonet").finish("failed", "Out of memory.")
    assert main(["compare", str(outputs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["#", "group", "seeds", "accuracy"]
    assert [line.split()[1] for line in lines[1:3]] == ["maml", "anil"]
    (place,) = [number for number, line in enumerate(lines) if line.strip() == "Without figures"]
    assert "failed" in lines[place + 1]
    assert "Out of memory." in " ".join(" ".join(lines[place + 1 :]).split())


@pytest.mark.parametrize(
    ("ending", "start"), [("md", "| # |"), ("csv", "section,group"), ("tex", "%"), ("json", "{"), ("txt", "#")]
)
def test_a_file_is_written_as_its_name_says(
    outputs: Path, ending: str, start: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("written") / f"table.{ending}"
    assert main(["compare", str(outputs), "-o", str(target)]) == 0
    content = target.read_text(encoding="utf-8")
    assert content.startswith(start)
    assert "maml" in content
    assert main(["compare", str(outputs), "-o", str(target), "--format", "json"]) == 0
    json.loads(target.read_text(encoding="utf-8"))


def test_options_reach_the_comparison(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--where", "seed<5", "--where=shots=1", "--metric", "loss", "--baseline", "algo=maml"]
    assert main(["compare", *words, str(outputs), "--sort", "-loss", "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["metric"] == "loss"
    assert content["sections"][0]["baseline"] == "maml"
    assert [row["group"] for row in content["sections"][0]["rows"]] == ["anil", "maml"]
    assert main(["compare", str(outputs), "--columns", "group, inner_lr", "--format=csv"]) == 0
    assert capsys.readouterr().out == "section,group,algo.inner_lr\n1,maml,\n1,anil,0.1\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--where", "shot=1"], "did you mean task.shots?"),
        (["--where", "algo=boil"], "none of the 4 runs is like that"),
        (["--metric", "mse"], "mse: no run has this figure"),
        (["--baseline", "mamll"], "did you mean maml?"),
        (["--columns", "sedes"], "did you mean seeds?"),
        (["--sort", "secs"], "did you mean seconds?"),
        (["--format", "xml"], "--format"),
        (["--fast"], "--fast"),
        (["nowhere"], "nowhere: there is no such folder"),
    ],
)
def test_wrong_usage_is_told_and_ends_with_2(
    outputs: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["compare", str(outputs), *words]) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert found.out == ""


def test_without_runs_or_without_finished_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare"]) == 2
    assert main(["compare", str(tmp_path)]) == 2
    assert f"{tmp_path}: no runs there" in capsys.readouterr().err
    started(tmp_path)
    assert main(["compare", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "running  Before its first step was written." in said
    assert said.endswith("Nothing to compare yet: none of these runs is finished.\n")


def test_a_file_that_cannot_be_written_is_one_sentence(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(outputs), "-o", str(outputs)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_neither_torch_nor_hydra_nor_matplotlib_is_loaded(outputs: Path) -> None:
    program = """
import sys
from metamtl.cli import main
main(["compare", sys.argv[1]])
main(["compare", sys.argv[1], "--format", "latex"])
print({"torch", "hydra", "omegaconf", "matplotlib", "scipy", "wandb"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", program, str(outputs)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_the_help_has_examples_that_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--help"]) == 0
    assert capsys.readouterr().out.strip() == HELP
    assert all(form in HELP for form in FORMATS)
    examples = [line for line in HELP.splitlines() if line.startswith("  metamtl compare ")]
    assert len(examples) >= 4
    for line in examples:
        assert _parse(shlex.split(line)[2:]).paths
