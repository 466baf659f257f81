"""Where the traceback of a failed run is kept, and the one sentence that the terminal gets.

The log of a run calls `note_log` when it has written one, whoever else knows a folder `record`, and whoever talks to
the user `sentence`.
"""

from __future__ import annotations

import os
import tempfile
import traceback
from pathlib import Path

from metamtl.errors import Interrupted, MetamtlError
from metamtl.runs.redact import redact_text

_ATTRIBUTE = "metamtl_log"
_NO_MEMORY = "can't allocate memory", "CUDA error: out of memory"  # as torch says, which is not imported
_LESS_MEMORY = "trainer.memory=flat, fewer tasks an update (trainer.meta_batch), or smaller ones"


def note_log(error: BaseException, log: Path) -> None:
    """Remember that `log` holds the traceback."""
    setattr(error, _ATTRIBUTE, log)


def record(error: BaseException, folder: Path) -> None:
    """Append the traceback to `folder/log.txt`, unless a log has it already; the folder must exist."""
    if getattr(error, _ATTRIBUTE, None) is None:
        with (folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(_traceback(error))
        note_log(error, folder / "log.txt")


def sentence(error: BaseException) -> str:
    """What went wrong; for an error that nobody foresaw its type too, and where the traceback is."""
    log = getattr(error, _ATTRIBUTE, None)
    if isinstance(error, MetamtlError | Interrupted):
        return str(error)
    said = " ".join(str(error).split())
    if type(error).__name__ in ("OutOfMemoryError", "MemoryError") or any(words in said for words in _NO_MEMORY):
        what = f"Memory ran out ({said[:120].rstrip('. ')}): take {_LESS_MEMORY}"
    else:
        what = f"{type(error).__name__}{f': {said}' if said else ''}"
    return f"{what}; the traceback is in {log or _keep(error)}."


def _keep(error: BaseException) -> Path:
    """A failure before there was a run folder goes to a temporary file."""
    descriptor, name = tempfile.mkstemp(prefix="metamtl-", suffix="-traceback.txt")
    os.close(descriptor)
    path = Path(name)
    path.write_text(_traceback(error), encoding="utf-8")
    return path


def _traceback(error: BaseException) -> str:
    return redact_text("".join(traceback.format_exception(type(error), error, error.__traceback__)))
