"""The wheel, built from this checkout and installed into an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import metamtl

ROOT = Path(metamtl.__file__).resolve().parent.parent


def installed_wheel(folder: Path) -> Path:
    """An environment with the wheel alone, which takes its dependencies from this one; returns its `bin`.

    Skips the test where metamtl does not come from a checkout or hatchling is absent.
    """
    pytest.importorskip("hatchling")
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("metamtl is not installed from a checkout here")
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
