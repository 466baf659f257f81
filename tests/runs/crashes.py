"""Real deaths of a process at a chosen system call, and a real full disk, for these tests."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DIED, DONE = 77, 0


def die_at_each_call(action: Callable[[], None], prepare: Callable[[], None], check: Callable[[int], None]) -> int:
    """For all k: `prepare`, a fork that does `action` and dies at its k-th write, fsync or rename, then `check(k)`.

    A write that dies has written half of its bytes. Returns the number of calls that `action` makes.
    """
    for k in itertools.count(1):
        prepare()
        pid = os.fork()
        if pid == 0:  # pragma: no cover (the child never reports)
            _arm(k)
            try:
                action()
            finally:
                os._exit(DONE)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        check(k)
        if code == DONE:
            return k - 1
    raise AssertionError


def _arm(k: int) -> None:
    left = itertools.count(k - 1, -1)

    def deadly(call: Callable[..., Any], half: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def replacement(*arguments: Any, **options: Any) -> Any:
            if next(left) == 0:
                if half:
                    half(*arguments)
                os._exit(DIED)
            return call(*arguments, **options)

        return replacement

    write = os.write
    os.write = deadly(write, half=lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
    os.fsync = deadly(os.fsync)
    Path.replace = deadly(Path.replace)  # type: ignore[method-assign]


def run_on_full_disk(code: str, folder: Path) -> str:
    """Runs `code` in a new Python where `disk` is a file system of 1 MiB mounted on `folder`, and returns its output.

    The mount is seen by that process alone and ends with it. Skips the test where the system allows no such mount.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare command to mount a small file system with")
    folder.mkdir()
    enter = [unshare, "--mount"] if os.geteuid() == 0 else [unshare, "--mount", "--map-root-user"]
    mount = f"mount -t tmpfs -o size=1m tmpfs '{folder}'"
    if subprocess.run([*enter, "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system")
    program = "from pathlib import Path\n" + f"disk = Path({str(folder)!r})\n" + textwrap.dedent(code)
    command = [*enter, "sh", "-c", f'{mount} && exec "$@"', "sh", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
