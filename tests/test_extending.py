"""docs/extending.md: the files it shows are written out and used as it says, from a folder and from a package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import metamtl
from tests.data.image_files import png, unpacked
from tests.deploy.made import drawings

PAGE = Path(metamtl.__file__).resolve().parent.parent / "docs" / "extending.md"
SMALL: tuple[str, ...] = (
    "trainer.steps=3",
    "trainer.task.ways=5",
    "backbone.width=8",
    "eval.episodes=6",
    "eval.val_episodes=4",
)
SMALL += ("eval.gap_episodes=0", "trainer.pictures=2", "trainer.device=cpu", "trainer.threads=1")


def shown() -> dict[str, str]:
    """The files of the page by their path."""
    if not PAGE.is_file():
        pytest.skip("the documentation is not here")
    return dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.M))


def ran(folder: Path, *arguments: str, **environment: str) -> str:
    command = [sys.executable, "-m", "metamtl", *arguments]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def written(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def test_a_method_in_a_folder_of_ones_own(tmp_path: Path, cache: Path) -> None:
    written(tmp_path, {name: text for name, text in shown().items() if name.startswith("my_options/")})
    own = ("--config-dir", "my_options")
    assert "\tnearest\t" in ran(tmp_path, "list", "algo", *own)
    ran(tmp_path, "train", *own, "algo=nearest", "data=glyphs", "algo.temperature=0.5", f"paths.cache={cache}", *SMALL)
    (run,) = (tmp_path / "outputs").iterdir()
    assert "temperature: 0.5" in (run / "config.yaml").read_text()
    ran(tmp_path, "eval", str(run), *own, "task.shots=5")
    (again,) = run.glob("eval/*/result.json")
    assert json.loads(again.read_text())["task"]["shots"] == 5
    x, classes = drawings(0, 2)
    unpacked(tmp_path / "letters", {f"{one}/{n}.png": png(x[n]) for n, one in enumerate(classes)})
    ran(tmp_path, "adapt", str(run), *own, "--support", "letters", "--save", "letters.pt")
    ran(tmp_path, "predict", "letters.pt", "letters", "-o", "predictions.csv", *own)
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 1 + len(classes)
    command = [sys.executable, "-m", "metamtl", "train", *own, "algo=nearest", "data=glyphs", "algo.temperature=0"]
    wrong = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (wrong.returncode, wrong.stderr) == (2, "algo.temperature=0: must be a number > 0.\n")


def test_a_method_as_a_package(tmp_path: Path, cache: Path) -> None:
    pytest.importorskip("hatchling")
    files = shown()
    package = "theirs/nearest_neighbours"
    written(
        tmp_path,
        {
            "theirs/pyproject.toml": files["pyproject.toml"],
            f"{package}/__init__.py": "",
            f"{package}/method.py": files["my_options/algo/nearest.py"],
            f"{package}/conf/algo/nearest.yaml": files["my_options/algo/nearest.yaml"],
        },
    )
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=tmp_path / "theirs", check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "site", "zip")  # as an installer does
    paths = os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH")]))
    assert "\tnearest\t" in ran(tmp_path, "list", "algo", PYTHONPATH=paths)
    ran(tmp_path, "train", "algo=nearest", "data=glyphs", f"paths.cache={cache}", *SMALL, PYTHONPATH=paths)
    (run,) = (tmp_path / "outputs").iterdir()
    assert (run / "result.json").exists()
