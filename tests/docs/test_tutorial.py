"""The tutorial's commands: each is one that metamtl takes, and all of them, one after another, do what it says."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metamtl.cli import main
from metamtl.config.compose import compose
from metamtl.deploy.folders import class_folders, pictures_in
from tests.comparison.made import finished, noisy
from tests.installed import ROOT, installed_wheel

LETTERS = ("ayin", "lamed", "mem", "qof", "shin")
TUTORIAL = ROOT / "docs" / "tutorial.md"
pytestmark = pytest.mark.skipif(not TUTORIAL.exists(), reason="the documentation is not installed beside metamtl")


def blocks() -> tuple[str, list[str]]:
    """The shell commands of the tutorial: how it installs, and what follows, block by block."""
    install, *walk = re.findall(r"^```sh\n(.*?)^```$", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return install, walk


def said(verb: str) -> Iterator[list[str]]:
    """The words after each `metamtl VERB` in the commands."""
    for line in "".join(blocks()[1]).replace("\\\n", "").splitlines():
        if line.startswith(f"metamtl {verb} "):
            yield shlex.split(line)[2:]


def test_what_it_trains_is_composed_as_written() -> None:
    (words,) = said("train")
    algos, seeds = (
        next(word.partition("=")[2] for word in words if word.startswith(key)) for key in ("algo=", "seed=")
    )
    common = [word for word in words if word != "-m" and not word.startswith(("algo=", "seed="))]
    assert len(algos.split(",")) == 3 and len(seeds.split(",")) == 3
    for algo in algos.split(","):
        config = compose([f"algo={algo}", "seed=2", *common])
        assert (config["algo"]["name"], config["seed"], config["data"]["name"]) == (algo, 2, "glyphs")


def test_its_pictures_are_folders_that_a_run_adapts_to(tmp_path: Path) -> None:
    (drawing,) = (block for block in blocks()[1] if block.startswith("python - <<"))
    program = drawing.partition("\n")[2].removesuffix("EOF\n")
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=60)
    (words,) = said("adapt")
    support, query = (tmp_path / words[words.index(option) + 1] for option in ("--support", "--predict"))
    assert {name: len(files) for name, files in class_folders(support).items()} == dict.fromkeys(LETTERS, 3)
    assert len(pictures_in([query])) == 35
    assert class_folders(query).keys() == class_folders(support).keys()


@pytest.mark.slow
def test_the_walk_from_an_installed_wheel(tmp_path: Path) -> None:
    """All commands as they are written, save that the wheel takes its dependencies from here and not from an index."""
    install, walk = blocks()
    assert install.splitlines()[-1] == "pip install -c constraints.txt '.[dashboard]'"
    pytest.importorskip("dash")
    programs = installed_wheel(tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HOME": str(tmp_path / "home"), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    (tmp_path / "home").mkdir()
    script = ["bash", "-euo", "pipefail", "-c", "".join(walk)]
    with (tmp_path / "said.txt").open("w") as told:
        done = subprocess.run(script, cwd=tmp_path, env=environment, stdout=told, stderr=told, timeout=3600)
    assert done.returncode == 0, (tmp_path / "said.txt").read_text()
    first = tmp_path / "first"
    _is_significant(first, programs)
    assert b"<html" in (first / "report.html").read_bytes()[:1000]
    with (first / "predictions.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    right = [Path(row["path"]).parent.name == row["label"] for row in rows]
    assert len(rows) == 35 and sum(right) > 21, rows
    assert "ayin" in (first / "ayin.csv").read_text()


def _is_significant(first: Path, programs: Path) -> None:
    words = [str(programs / "metamtl"), "compare", "outputs", "--format", "json"]
    found = json.loads(subprocess.run(words, cwd=first, check=True, capture_output=True, text=True, timeout=60).stdout)
    (section,) = found["sections"]
    others = [row for row in section["rows"] if row["group"] != section["baseline"]]
    assert len(others) == 2 and {row["figures"]["seeds"] for row in section["rows"]} == {3}
    assert all(row["test"]["p_t_holm"] < 0.05 for row in others), others


def test_the_table_has_the_columns_that_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # a narrow terminal gives columns up
    train = {"steps": 100, "tasks_per_second": 6.5, "seconds": 15.0, "step_ms": 123.0}
    for number, (algo, seed) in enumerate(itertools.product(("r2d2", "centroid"), range(2))):
        finished(tmp_path, algo, seed, accuracy=noisy(0.7, number), facts={"train": train})
    assert main(["compare", str(tmp_path)]) == 0
    (written,) = [line for line in TUTORIAL.read_text(encoding="utf-8").splitlines() if line.startswith("#  group")]
    assert written.split() == capsys.readouterr().out.splitlines()[0].split()
