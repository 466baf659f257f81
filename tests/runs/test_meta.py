from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from metamtl.runs import meta


def _git(*arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def test_git_state_tells_commit_and_dirtiness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert meta.git_state() is None
    _git("init")
    assert meta.git_state() is None  # no commit yet
    (tmp_path / "a").write_text("1")
    _git("add", "a")
    _git("commit", "-m", "x")
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "log.txt").write_text("unknown to git")
    state = meta.git_state()
    assert state is not None
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (tmp_path / "a").write_text("2")
    assert meta.git_state() == {**state, "dirty": True}


def test_without_git_there_is_no_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert meta.git_state() is None


def test_versions_hold_what_decides_the_numbers() -> None:
    versions = meta.installed_versions()
    assert {"python", "numpy", "torch", "metamtl"} <= versions.keys()
