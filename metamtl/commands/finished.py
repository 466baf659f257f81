"""The arguments of the verbs that take a run: its folder, then overrides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metamtl.commands.arguments import without_own_folder
from metamtl.errors import UsageError


def run_and_overrides(verb: str, arguments: Sequence[str]) -> tuple[Path, list[str]]:
    """The run's folder and the overrides, in any order; raises UsageError where one is wrong.

    `--config-dir FOLDER` says where the classes of options of one's own are.
    """
    arguments = without_own_folder(arguments)
    flags = [word for word in arguments if word.startswith("-")]
    overrides = [word for word in arguments if word not in flags and _is_override(word)]
    folders = [word for word in arguments if word not in flags and word not in overrides]
    problems = [f"metamtl {verb} {flag}: no such flag; `metamtl {verb} --help` says what there is." for flag in flags]
    if not folders:
        problems.append(f"Which run? metamtl {verb} RUN, the folder under outputs/ that holds its config.yaml.")
    if len(folders) > 1:
        problems.append(f"metamtl {verb} takes one run, not {', '.join(folders)}.")
    if problems:
        raise UsageError(*problems)
    return Path(folders[0]).expanduser(), overrides


def _is_override(word: str) -> bool:
    key, sign, _ = word.partition("=")
    return bool(sign) and "/" not in key and not Path(word).exists()
