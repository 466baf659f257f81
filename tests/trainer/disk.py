"""A real small disk that a job has for itself: a file system in memory that no other process sees."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from metamtl.cli import main
from tests.trainer.processes import _train
from tests.trainer.runs import only_run, step_of

_CLONE_NEWNS = 0x00020000
_BYTES = 4 << 20


def can_mount() -> bool:
    return os.geteuid() == 0 and shutil.which("mount") is not None


def mount(folder: Path, options: str) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)


def fills_up_and_goes_on(config: dict[str, Any], step: int) -> int:
    """Trains on a disk that is full from `step` on, resumes when there is space, and keeps a copy of the outputs.

    Returns the first exit code where the second is 0.
    """
    here = Path.cwd()
    mount(here / "outputs", f"size={_BYTES}")
    filling = threading.Thread(target=_fill, args=(here, step), daemon=True)
    filling.start()
    first = _train(config)
    filling.join()
    shutil.copytree(here / "outputs", here / "full", ignore=lambda *_: ["ballast"])
    (here / "outputs" / "ballast").unlink()
    second = main(["resume", str(only_run(here))])
    shutil.copytree(here / "outputs", here / "kept" / "outputs")
    return first if second == 0 else 100 + second


def finds_a_disk_that_cannot_be_written(config: dict[str, Any]) -> int:
    mount(Path.cwd() / "outputs", "ro")
    return _train(config)


def _fill(here: Path, step: int) -> None:
    while not any(step_of(meta.parent) >= step for meta in here.glob("outputs/*/meta.json")):
        time.sleep(0.001)
    descriptor = os.open(here / "outputs" / "ballast", os.O_WRONLY | os.O_CREAT)
    size = 1 << 16
    while size:
        try:
            os.write(descriptor, bytes(size))
        except OSError:
            size //= 2
    os.close(descriptor)
