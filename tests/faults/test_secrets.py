"""Keys that are given in overrides and in the environment: every byte that commands leave is searched for them."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.faults.said import said

TINY = (
    "algo=maml", "data=sinusoid", "engine=loop", "backbone.hidden=[4]", "algo.inner_steps=1", "trainer.steps=2",
    "trainer.meta_batch=1", "trainer.device=cpu", "eval.val_episodes=2", "eval.episodes=4", "eval.gap_episodes=0",
    "trainer.pictures=0",
)  # fmt: skip


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Keys by how they are given; those in capitals are in the environment."""
    monkeypatch.chdir(tmp_path)
    names = ("WANDB_API_KEY", "HF_TOKEN", "DATABASE_PASSWORD", "typed", "set", "url")
    found = {name: f"Zq{secrets.token_hex(16)}" for name in names}
    for name in names[:3]:
        monkeypatch.setenv(name, found[name])
    monkeypatch.setenv("SERVICE_TOKEN", "")  # Hydra sets it below; this puts it back afterwards
    return found


def _leaks(folder: Path, keys: dict[str, str]) -> list[str]:
    """Where a key stands in a name or in any byte below the folder."""
    found = []
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        found += [f"{name} in {path}" for name, key in keys.items() if key in str(path) or key.encode() in content]
    return found


def test_no_key_is_in_any_byte_that_is_written(
    tmp_path: Path, keys: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    typed = (
        f"note.api_key={keys['typed']}",
        f"+hydra.job.env_set.SERVICE_TOKEN={keys['set']}",
        f"note.service.url=https://me:{keys['url']}@host/x",
        "note.service.login=${oc.env:DATABASE_PASSWORD}",
        "label=${oc.env:HF_TOKEN}-x",
    )
    failing = ("algo.inner_lr=1e30", "algo.inner_steps=3", "trainer.steps=3")
    told = [said(capsys, "train", "-m", *TINY, "seed=0", *typed), said(capsys, "train", *TINY, *typed, *failing)]
    (run,) = (path.parent for path in tmp_path.glob("outputs/*/*/meta.json"))
    told.append(said(capsys, "resume", run, "trainer.steps=3", f"paths.cache={tmp_path}"))
    told.append(said(capsys, "compare", "outputs", "-o", "table.md"))
    assert [found.code for found in told] == [0, 1, 0, 0]
    assert len(list(tmp_path.glob("outputs/**/log.txt"))) == 2
    assert {path.name for path in run.parent.iterdir()} == {
        ".lock",
        "0",
        "jobs.jsonl",
        "multirun.json",
        "multirun.yaml",
    }
    assert _leaks(tmp_path, keys) == []
    assert [name for name, key in keys.items() if key in str(told)] == []


def test_the_search_finds_what_is_there(tmp_path: Path, keys: dict[str, str]) -> None:
    """Guards the test above."""
    (tmp_path / f"{keys['set']}.bin").write_bytes(b"\xff" + keys["typed"].encode())
    assert [leak.split()[0] for leak in _leaks(tmp_path, keys)] == ["typed", "set"]
