"""Names of run folders, and taking one so that no other process can have it."""

from __future__ import annotations

import itertools
import re
import time
import unicodedata
from pathlib import Path

from metamtl.runs.files import clear_disk_errors
from metamtl.runs.redact import without_secrets_of_the_environment

_LONGEST_LABEL = 80  # a file name holds 255 bytes; time and suffix need 24 of them


def take_folder(parent: Path, label: str) -> Path:
    """Makes and returns `parent`/<UTC time>-<label>, with a number after it where that exists already.

    The exclusive mkdir decides who gets a name, so folders are unique however many processes start in one
    second, and when the clock goes back. Raises MetamtlError where the folder cannot be made.
    """
    name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{safe_label(label)}"
    with clear_disk_errors(parent / name):
        parent.mkdir(parents=True, exist_ok=True)
        for attempt in itertools.count(1):
            folder = parent / (name if attempt == 1 else f"{name}-{attempt}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    raise AssertionError("the count never ends")


def safe_label(label: str) -> str:
    """`label` as part of a file name: Latin letters, digits, `_`, `.`, `-`; never empty, no secret, at most 80 long."""
    label = without_secrets_of_the_environment(label)
    ascii_label = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode()
    safe = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9_.]+", "-", ascii_label))
    return safe[:_LONGEST_LABEL].strip("-.") or "run"
