"""Files that would run code if they could: YAML tags, targets and interpolations of Hydra, pickled figures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl import registry
from metamtl.errors import MetamtlError
from metamtl.runs.folder import RunFolder
from metamtl.runs.result import read_episodes
from tests.config.options import TOY, write
from tests.faults.said import said
from tests.trainer.runs import Runs

TAGS = (
    "!!python/object/apply:os.mkdir [{marker}]",
    "!!python/object/new:os.mkdir [{marker}]",
    "!!python/name:os.mkdir",
    "!!python/module:os",
    "!!python/object/apply:subprocess.check_call [[mkdir, {marker}]]",
)


@pytest.mark.parametrize("tag", TAGS)
def test_tags_of_python_in_a_config_are_refused(
    whole: Path, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str], tag: str
) -> None:
    run, marker = runs.copy(whole, tmp_path), tmp_path / "done"
    with (run / "config.yaml").open("a") as file:
        file.write(f"label: {tag.format(marker=marker)}\n")
    for words in (("eval", run), ("resume", run, "trainer.steps=30"), ("compare", run)):
        assert said(capsys, *words).code == 1
    own = write(tmp_path / "own", {"data/toy.yaml": TOY + f"\nx: {tag.format(marker=marker)}\n"})
    said(capsys, "list", "data", "--config-dir", own)
    assert said(capsys, "train", "data=toy", "--config-dir", own).code == 2
    assert not marker.exists()


def test_targets_and_resolvers_in_a_config_are_only_text(
    whole: Path,
    runs: Runs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A config may say `_target_`: objects are made from names in the registry alone."""
    run, marker = runs.copy(whole, tmp_path), tmp_path / "done"
    extra = f"x: {{_target_: os.mkdir, path: {marker}}}\ny: ${{eval:__import__('os').mkdir('{marker}')}}\n"
    (run / "config.yaml").write_text((run / "config.yaml").read_text() + extra)
    said(capsys, "eval", run)
    for line in (f"+x={{_target_: os.mkdir, path: {marker}}}", f"backbone._target_=os.mkdir {marker}"):
        said(capsys, "resume", run, line)
    text = (run / "config.yaml").read_text()
    (tmp_path / "evil.py").write_text(f"import os; os.mkdir({str(marker)!r})")
    (tmp_path / "own" / "algo").mkdir(parents=True)
    monkeypatch.setattr(registry, "FOLDERS", [tmp_path / "own"])
    for name in ("os.mkdir", "os:mkdir", "../../evil", f"{tmp_path}/evil"):
        (run / "config.yaml").write_text(text.replace("name: protonet", f"name: {name}"))
        assert "is installed; `metamtl list" in said(capsys, "eval", run).err
    assert not marker.exists()


class _Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_pickled_figures_are_refused(whole: Path, runs: Runs, tmp_path: Path) -> None:
    run, marker = runs.copy(whole, tmp_path), tmp_path / "done"
    with (run / "episodes.npy").open("wb") as file:
        np.save(file, np.array([_Hostile(marker)], dtype=object), allow_pickle=True)
    with pytest.raises(MetamtlError, match="is not the file that belongs to result"):
        read_episodes(RunFolder.open(run))
    assert not marker.exists()
