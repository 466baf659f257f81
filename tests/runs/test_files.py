from __future__ import annotations

import errno
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl.errors import MetamtlError
from metamtl.runs.files import from_json, read_json, sha256_of, to_json, write_atomic, write_json
from tests.runs.crashes import die_at_each_call, run_on_full_disk


def test_a_kill_at_any_call_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    path, old, new = tmp_path / "file", b"old" * 10, b"newer" * 1000
    found = set()

    def check(_: int) -> None:
        found.add(path.read_bytes())
        assert path.read_bytes() in (old, new)

    calls = die_at_each_call(lambda: write_atomic(path, new), lambda: write_atomic(path, old), check)
    assert calls == 4  # write, fsync, rename, fsync of the folder
    assert found == {old, new}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_with_the_command_that_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    run = tmp_path / "run"
    write_json(run / "meta.json", {})
    write_json(run / "eval" / "x" / "meta.json", {})
    path = run / "eval" / "x" / "result.json"
    write_atomic(path, b"old")

    def full(*_: Any) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(
        MetamtlError, match=f"No space left on the disk of {path}: free some and run `metamtl resume {run}`"
    ):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in path.parent.iterdir() if entry.name.endswith(".part")] == []


def test_of_several_writers_each_has_a_file_of_its_own(tmp_path: Path) -> None:
    """Who renames what another still writes puts half a file in place, and leaves the other nothing to rename."""
    path, payloads = tmp_path / "sweep.json", [bytes([letter]) * 100_000 for letter in b"abcd"]
    with ThreadPoolExecutor(len(payloads)) as writers:
        for written in [writers.submit(write_atomic, path, payload, True) for payload in payloads * 25]:
            written.result()
    assert path.read_bytes() in payloads
    assert [entry.name for entry in tmp_path.iterdir()] == ["sweep.json"]


def test_a_really_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    said = run_on_full_disk(
        """
        from metamtl.errors import MetamtlError
        from metamtl.runs.files import write_atomic
        write_atomic(disk / "file", b"old")
        try:
            write_atomic(disk / "file", bytes(4 << 20))
        except MetamtlError as error:
            print(error)
        print((disk / "file").read_bytes(), [path.name for path in disk.iterdir()])
        """,
        tmp_path / "disk",
    )
    assert "No space left on the disk of" in said
    assert "b'old' ['file']" in said


def test_json_is_valid_and_keeps_what_is_not_finite(tmp_path: Path) -> None:
    value = {
        "a": math.nan,
        "b": [math.inf, -math.inf],
        "c": np.float32(0.5),
        "d": np.arange(2),
        "e": Path("x"),
        "f": True,
    }
    text = to_json(value)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    back = from_json(text)
    assert math.isnan(back["a"])
    assert back["b"] == [math.inf, -math.inf]
    assert (back["c"], back["d"], back["e"], back["f"]) == (0.5, [0, 1], "x", True)
    with pytest.raises(TypeError, match="no form in JSON"):
        to_json({"x": object()})


def test_damaged_json_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": ')
    with pytest.raises(MetamtlError, match=r"x\.json is damaged"):
        read_json(tmp_path / "x.json")
    with pytest.raises(MetamtlError, match=r"Cannot read .*y\.json: No such file"):
        read_json(tmp_path / "y.json")


def test_sha256_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    payload = os.urandom(3 << 20)
    (tmp_path / "f").write_bytes(payload)
    assert sha256_of(tmp_path / "f") == sha256_of(payload)
    assert sha256_of(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
