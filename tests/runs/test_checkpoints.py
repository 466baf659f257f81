from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from metamtl.errors import MetamtlError
from metamtl.runs.checkpoints import load, save
from tests.runs.crashes import die_at_each_call, run_on_full_disk

STATES = {step: bytes([step]) * (1000 + step) for step in range(1, 6)}


def _save(folder: Path, step: int, name: str = "last") -> None:
    save(folder, name, STATES[step], {"step": step})


def _flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_what_is_saved_is_loaded_and_the_one_before_is_kept(tmp_path: Path) -> None:
    for step in (1, 2):
        _save(tmp_path, step)
        _save(tmp_path, step, "best")
    found = load(tmp_path, "last")
    assert (found.payload, found.info["step"], found.info["size"], found.notes) == (STATES[2], 2, 1002, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{name}.{ending}" for name in ("last", "best", "previous", "previous-best") for ending in ("pt", "json")
    )


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove", "sidecar", "sidecar torn"])
def test_a_damaged_checkpoint_falls_back_and_says_so(tmp_path: Path, damage: str) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    last, sidecar = tmp_path / "last.pt", tmp_path / "last.json"
    match damage:
        case "flip":
            _flip_a_byte(last)
        case "truncate":
            os.truncate(last, 10)
        case "empty":
            last.write_bytes(b"")
        case "remove":
            last.unlink()
        case "sidecar":
            sidecar.unlink()
        case _:
            os.truncate(sidecar, 5)
    found = load(tmp_path, "last")
    assert (found.payload, found.info["step"]) == (STATES[1], 1)
    assert len(found.notes) == 1
    assert found.notes[0].startswith("last.pt ")
    assert found.notes[0].endswith(": going on from previous.pt (step 1).")


def test_none_sound_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        MetamtlError, match=r"No sound checkpoint 'last' in .*last\.pt is missing; previous\.pt is missing"
    ):
        load(tmp_path, "last")
    _save(tmp_path, 1)
    _flip_a_byte(tmp_path / "last.pt")
    with pytest.raises(MetamtlError, match="damaged"):
        load(tmp_path, "last")


def _sound_start(folder: Path) -> None:
    _save(folder, 1)
    _save(folder, 2)


def _damaged_start(folder: Path) -> None:
    _sound_start(folder)
    _flip_a_byte(folder / "last.pt")


@pytest.mark.parametrize(("start", "old"), [(_sound_start, 2), (_damaged_start, 1)])
def test_a_kill_at_any_call_leaves_the_old_or_the_new_state(tmp_path: Path, start: Any, old: int) -> None:
    found = []

    def check(_: int) -> None:
        checkpoint = load(tmp_path, "last")
        found.append(checkpoint.info["step"])
        assert checkpoint.payload == STATES[checkpoint.info["step"]]

    def prepare() -> None:
        shutil.rmtree(tmp_path)
        start(tmp_path)

    calls = die_at_each_call(lambda: _save(tmp_path, 3), prepare, check)
    assert calls >= 8
    assert found == sorted(found)  # once new, always new
    assert set(found) == {old, 3}


def test_kills_in_a_row_always_leave_a_sound_state_no_older_than_before(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    # No preparation between the deaths: each save starts from what the last one left behind.
    oldest = [1]

    def check(_: int) -> None:
        checkpoint = load(tmp_path, "last")
        assert checkpoint.payload == STATES[checkpoint.info["step"]]
        assert checkpoint.info["step"] >= oldest[0]
        oldest[0] = max(oldest[0], checkpoint.info["step"])

    die_at_each_call(lambda: _save(tmp_path, 3), lambda: None, check)
    die_at_each_call(lambda: _save(tmp_path, 4), lambda: None, check)
    assert load(tmp_path, "last").info["step"] == 4


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_an_error_of_any_call_leaves_the_old_or_the_new_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    failed = 0
    for k in range(30):
        shutil.rmtree(tmp_path)
        _sound_start(tmp_path)
        calls = iter(range(k, -1, -1))

        def failing(call: Any, calls: Any = calls) -> Any:
            def replacement(*arguments: Any) -> Any:
                if next(calls, None) == 0:
                    raise OSError(code, os.strerror(code))
                return call(*arguments)

            return replacement

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", failing(os.write))
            patch.setattr(os, "fsync", failing(os.fsync))
            patch.setattr(Path, "replace", failing(Path.replace))
            try:
                _save(tmp_path, 3)
            except MetamtlError:
                failed += 1
        found = load(tmp_path, "last")
        assert found.payload == STATES[found.info["step"]]
        assert found.info["step"] in (2, 3)
        assert not list(tmp_path.glob("*.part"))
    assert failed >= 6


def test_sigkill_at_random_moments_loses_nothing(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from metamtl.runs.checkpoints import load, save
folder = Path({str(tmp_path)!r})
step = load(folder, "last").info["step"]
while True:
    step += 1
    save(folder, "last", step.to_bytes(8, "little") * 40_000, {{"step": step}})
    print(step, flush=True)
"""
    save(tmp_path, "last", (0).to_bytes(8, "little") * 40_000, {"step": 0})
    for attempt in range(6):
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()  # it is saving now
        time.sleep(0.013 * attempt)
        child.send_signal(signal.SIGKILL)
        reported = [int(line) for line in child.stdout.read().split()]
        child.wait()
        child.stdout.close()
        found = load(tmp_path, "last")
        step = found.info["step"]
        assert found.payload == step.to_bytes(8, "little") * 40_000
        assert step >= max(reported, default=0)


def test_a_really_full_disk_leaves_the_old_state(tmp_path: Path) -> None:
    said = run_on_full_disk(
        """
        from metamtl.errors import MetamtlError
        from metamtl.runs.checkpoints import load, save
        (disk / "meta.json").touch()
        folder = disk / "checkpoints"
        save(folder, "last", b"a" * 300_000, {"step": 1})
        save(folder, "last", b"b" * 300_000, {"step": 2})
        for payload in (b"c" * 600_000, b"c" * 440_000):
            try:
                save(folder, "last", payload, {"step": 3})
            except MetamtlError as error:
                print(error)
        found = load(folder, "last")
        print(found.info["step"], found.payload == b"b" * 300_000, found.notes)
        (disk / "filler").write_bytes(bytes(50_000))
        save(folder, "last", b"d" * 1000, {"step": 4})
        print(load(folder, "last").info["step"])
        """,
        tmp_path / "disk",
    )
    assert said.count("free some and run `metamtl resume") == 2
    assert "2 True []\n4\n" in said
