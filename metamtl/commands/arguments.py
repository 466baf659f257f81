"""Flags of the verbs that take a run or a model: wrong ones end as every wrong usage does, no file is overwritten, and
the classes of options of one's own are found.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from metamtl.config.paths import user_folder
from metamtl.errors import UsageError
from metamtl.registry import use_folder


class Parser(argparse.ArgumentParser):
    """A parser for `metamtl VERB` that raises UsageError and leaves help to the verb's own text."""

    def __init__(self, verb: str) -> None:
        super().__init__(f"metamtl {verb}", add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(f"{self.prog}: {message}; `{self.prog} --help` says what there is.")


def refuse_existing(paths: Sequence[Path | None], overwrite: bool) -> None:
    """UsageError for each file that would be overwritten, so that nothing is lost and nothing is done in vain."""
    taken = [path for path in paths if path is not None and path.exists()]
    if taken and not overwrite:
        raise UsageError(*(f"{path} exists already: choose another name, or add --overwrite." for path in taken))


def without_own_folder(arguments: Sequence[str]) -> list[str]:
    """The arguments but `--config-dir FOLDER`, whose classes are found from now on; UsageError where there is none."""
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, sign, value = word.partition("=")
        if flag not in ("--config-dir", "-cd"):
            rest.append(word)
            continue
        folder = value if sign else next(words, "")
        if not folder:
            raise UsageError("--config-dir: which folder? --config-dir FOLDER.")
        use_folder(user_folder(Path(folder)))
    return rest
