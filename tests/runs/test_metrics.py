from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from metamtl.errors import MetamtlError
from metamtl.runs.metrics import MetricStream, read
from tests.runs.crashes import run_on_full_disk


def test_lines_are_read_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    assert read(path) == []
    with MetricStream(path) as stream:
        stream.write(10, "train", {"train/loss": 0.3})
        assert read(path) == [{"step": 10, "split": "train", "train/loss": 0.3}]  # at once, before closing
        stream.write(10, "val", {"val/accuracy": math.nan})
    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert math.isnan(read(path)[1]["val/accuracy"])


def test_resuming_drops_what_was_written_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricStream(path) as stream:
        for step in range(5):
            if step == 3:
                position = stream.position()
            stream.write(step, "train", {"train/loss": 1.0 / (step + 1)})
    unbroken = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"step": 5, "tr')
    with MetricStream(path) as stream:
        stream.truncate(position)
        assert [line["step"] for line in read(path)] == [0, 1, 2]
        for step in (3, 4):
            stream.write(step, "train", {"train/loss": 1.0 / (step + 1)})
    assert path.read_bytes() == unbroken


def test_a_torn_last_line_is_tolerated_and_mended(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricStream(path) as stream:
        stream.write(1, "train", {"train/loss": 0.5})
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        path.write_bytes(whole + whole[:length])
        assert [line["step"] for line in read(path)] == ([1, 1] if whole[:length].endswith(b"\n") else [1])
        with MetricStream(path) as stream:
            stream.write(2, "train", {})
        assert [line["step"] for line in read(path)] == [1, 2]


def test_a_damaged_line_and_a_lost_end_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\xff\x00garbage\n{"step": 2}\n')
    assert [line["step"] for line in read(path)] == [1, 2]
    assert "1 damaged lines" in caplog.text
    with MetricStream(path) as stream:
        stream.truncate(10_000)
    assert "has lost its end" in caplog.text


def test_a_line_is_whole_or_absent_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    write = os.write

    def half(descriptor: int, data: Any) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:20])

    with MetricStream(path) as stream:
        stream.write(1, "train", {"train/loss": 0.5})
        monkeypatch.setattr(os, "write", half)
        with pytest.raises(MetamtlError, match="No space left"):
            stream.write(2, "train", {"t": 1})
        monkeypatch.undo()
        stream.write(3, "train", {})
    assert [line["step"] for line in read(path)] == [1, 3]


def test_a_really_full_disk_is_told(tmp_path: Path) -> None:
    said = run_on_full_disk(
        """
        from metamtl.errors import MetamtlError
        from metamtl.runs.metrics import MetricStream, read
        stream = MetricStream(disk / "metrics.jsonl")
        try:
            for step in range(100_000):
                stream.write(step, "train", {"train/loss": 0.1})
        except MetamtlError as error:
            print(error)
        lines = read(disk / "metrics.jsonl")
        print([line["step"] for line in lines] == list(range(step)), stream.position() > 1_000_000)
        """,
        tmp_path / "disk",
    )
    assert "No space left on the disk of" in said
    assert "True True" in said


def test_lines_that_are_json_only_together_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": [2\n3]}\n{"step": 4}\n')
    assert [line["step"] for line in read(path)] == [1, 4]
    path.write_bytes(b'{"step": 1}, {"step": 2}\n{"step": 3}\n7\n')
    assert [line["step"] for line in read(path)] == [3]


def test_a_long_stream_is_thinned_split_by_split(tmp_path: Path) -> None:
    with MetricStream(tmp_path / "metrics.jsonl") as stream:
        for step in range(1, 1001):
            stream.write(step, "train", {"train/loss": 1.0})
            if step % 100 == 0:
                stream.write(step, "val", {"val/loss": math.nan})
    lines = read(tmp_path / "metrics.jsonl", most=100)
    steps = [line["step"] for line in lines if line["split"] == "train"]
    assert steps == [*range(1, 1001, 16), 1000]
    assert sum(line["split"] == "val" for line in lines) == 10
    assert len(read(tmp_path / "metrics.jsonl", most=5000)) == 1010
