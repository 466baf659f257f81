"""log.txt: what the program says while a run goes on, with times, and the traceback of a failure."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from metamtl.errors import Interrupted
from metamtl.failures import note_log
from metamtl.runs.files import clear_disk_errors
from metamtl.runs.redact import redact_text

_logger = logging.getLogger("metamtl")


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """While the block runs, every warning and each of metamtl's own INFO lines goes to `path`, appended.

    An exception that leaves the block is recorded with its traceback, an interruption with one line, and both
    go on. Afterwards the file is closed and logging is as it was, so that the next job of a multirun has a
    log of its own.
    """
    with clear_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(_RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root, level = logging.getLogger(), _logger.level
    root.addHandler(handler)
    _logger.setLevel(logging.INFO)
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as interruption:
        _logger.warning("interrupted: %s", str(interruption) or "by the keyboard")
        raise
    except Exception as error:
        _logger.exception("failed")
        note_log(error, path)
        raise
    finally:
        _logger.setLevel(level)
        root.removeHandler(handler)
        with suppress(OSError):  # what a full disk did not take is tried once more on closing
            handler.close()


def say(*lines: str) -> None:
    """Prints what a person is to read at the end of something, and keeps it in the log of the run that goes on."""
    for line in lines:
        _logger.info(line)
        print(line, flush=True)


class _FileHandler(logging.FileHandler):
    """Goes silent on a full disk instead of printing a traceback for every line: the run itself says so."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (standard library)
        self.setLevel(logging.CRITICAL + 1)


class _RedactingFormatter(logging.Formatter):
    """UTC times, and no secret in any line, traceback included."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        return redact_text(super().format(record))
