"""What a multirun was asked for, kept in its folder: with it `metamtl resume FOLDER` finishes what was stopped."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from metamtl.errors import MetamtlError
from metamtl.runs.redact import HIDDEN, redact_command

FILE = "multirun.json"


def remember(folder: Path, arguments: Sequence[str]) -> None:
    """Writes down the arguments of `metamtl train`, and the folder that relative paths in them start from."""
    from metamtl.runs.files import write_json

    write_json(folder / FILE, {"arguments": redact_command(arguments), "directory": str(Path.cwd())})


def recall(folder: Path) -> list[str]:
    """The arguments, in whose own folder this process is from then on.

    Raises MetamtlError where the record is damaged, or where a secret was among them, which no file keeps.
    """
    from metamtl.runs.files import read_json

    content = read_json(folder / FILE)
    arguments = content.get("arguments") if isinstance(content, dict) else None
    if not isinstance(arguments, list) or not all(isinstance(word, str) for word in arguments):
        raise MetamtlError(f"{folder / FILE} is damaged: resume each run by itself, as {folder / '0'}.")
    if hidden := [word for word in arguments if HIDDEN in word]:
        raise MetamtlError(
            f"{hidden[0].partition('=')[0]} was given to this multirun and holds a secret, which no file keeps: resume "
            f"each run by itself, as {shlex.quote(str(folder / '0'))}, and start those that are missing anew."
        )
    with suppress(OSError, KeyError, TypeError):  # moved to another machine, where all paths are given whole
        os.chdir(content["directory"])
    return arguments
