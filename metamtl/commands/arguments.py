"""Flags of the verbs that take no overrides: wrong ones end as every wrong usage does, and no file is overwritten."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from metamtl.errors import UsageError


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
