"""What the terminal says of errors that nobody raised on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from metamtl.failures import record, sentence


def raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as found:
        return found


def test_an_error_that_nobody_foresaw_has_its_type_and_its_traceback(tmp_path: Path) -> None:
    error = raised(ZeroDivisionError("float  division\nby zero"))
    record(error, tmp_path)
    assert sentence(error) == f"ZeroDivisionError: float division by zero; the traceback is in {tmp_path}/log.txt."
    assert "test_sentences.py" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.18 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
    ],
)
def test_where_memory_ran_out_it_says_what_takes_less(error: Exception, tmp_path: Path) -> None:
    record(raised(error), tmp_path)
    said = sentence(error)
    assert said.startswith("Memory ran out (") and "allocate" in said
    assert "trainer.memory=flat" in said and str(tmp_path) in said
