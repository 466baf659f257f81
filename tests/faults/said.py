"""A command in this process: its exit code and what it printed, held to what every command promises."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from metamtl.cli import main


class Said(NamedTuple):
    code: int
    out: str
    err: str


def said(capsys: pytest.CaptureFixture[str], *words: object) -> Said:
    """`metamtl WORDS`: done, failed or refused, and never with an error that nobody foresaw."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    assert code in (0, 1, 2), captured.err
    assert "Traceback" not in captured.err and "the traceback is in" not in captured.err, captured.err
    assert bool(captured.err.strip()) or code == 0
    return Said(code, captured.out, captured.err)
