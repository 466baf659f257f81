"""The wheel, installed elsewhere and run from another directory: options inside, every verb in place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import metamtl

ROOT = Path(metamtl.__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel alone, which takes its dependencies from this one; returns its `bin`."""
    pytest.importorskip("hatchling")
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("metamtl is not installed from a checkout here")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("metamtl", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    shutil.rmtree(source)
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    # Behind the wheel on the path; a plain line, so that no .pth of an editable install there is obeyed.
    Path(packages.stdout.strip(), "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


def ran(elsewhere: Path, folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(elsewhere / "metamtl"), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_works_from_another_directory(elsewhere: Path, tmp_path: Path) -> None:
    where = [str(elsewhere / "python"), "-c", "import metamtl; print(metamtl.__file__)"]
    file = subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert file.startswith(str(elsewhere.parent))
    groups = json.loads(ran(elsewhere, tmp_path, "list", "--json"))
    shipped = {path.stem for path in (ROOT / "conf" / "algo").glob("*.yaml")}
    assert {option["name"] for option in groups["algo"]} == shipped
    assert "name: maml" in ran(elsewhere, tmp_path, "train", "algo=maml", "--cfg", "job")
    assert "data=glyphs" in ran(elsewhere, tmp_path, "doctor")
    # lists and other files beside the code came along
    inside = Path(file.strip()).parent
    for path in (ROOT / "metamtl").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert (inside / path.relative_to(ROOT / "metamtl")).exists(), path
