from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from metamtl.errors import MetamtlError
from metamtl.runs.lock import hold


def test_a_second_process_is_told_who_holds_the_run_until_it_dies(tmp_path: Path) -> None:
    program = f"""
import time
from pathlib import Path
from metamtl.runs.lock import hold
with hold(Path({str(tmp_path)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with (
            pytest.raises(MetamtlError, match=rf"in use by process {child.pid} on \S+ since 20.*kill {child.pid}"),
            hold(tmp_path),
        ):
            pytest.fail("two processes hold one run")
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    with hold(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()


def test_the_lock_is_let_go_after_the_block_and_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), hold(tmp_path):
            _ = 1 / 0
    with hold(tmp_path), pytest.raises(MetamtlError, match=f"process {os.getpid()}"), hold(tmp_path):
        pytest.fail("held twice")


def test_an_unreadable_note_still_gives_a_clear_sentence(tmp_path: Path) -> None:
    with hold(tmp_path):
        (tmp_path / ".lock").write_text("")
        with pytest.raises(MetamtlError, match="is in use: wait for the process that holds it"), hold(tmp_path):
            pytest.fail("held twice")
