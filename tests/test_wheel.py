"""The wheel, installed elsewhere and run from another directory: options inside, every verb in place."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.installed import ROOT, installed_wheel


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed_wheel(tmp_path_factory.mktemp("wheel"))


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
