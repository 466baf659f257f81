"""`metamtl doctor`: what is installed, which device, which data, and the exact command for what is missing."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

HELP = """usage: metamtl doctor [paths.data=FOLDER] [paths.outputs=FOLDER] [paths.cache=FOLDER]

Say what is installed, which device there is, which data is present and where files can be written; with what is
missing comes the command that gets it. Exit code 1 where something that every run needs is missing.

examples:
  metamtl doctor
  metamtl doctor paths.data=~/data"""

LOW_DISK_GB = 2.0


class Finding(NamedTuple):
    """One line: what was looked at, whether it is as it should be, and what there is or what to do."""

    name: str
    good: bool
    text: str
    needed: bool = False


def main(arguments: Sequence[str]) -> int:
    """Print the findings; returns 1 where a needed one is bad."""
    from metamtl.config.compose import compose

    paths = {key: value for key, value in compose(list(arguments))["paths"].items()}
    findings = [*_packages(), *_devices(), *_places(paths), *_data(paths)]
    _print(findings)
    return int(any(finding.needed and not finding.good for finding in findings))


def _packages() -> Iterator[Finding]:
    yield Finding("python", True, platform.python_version())
    yield Finding("metamtl", True, version("metamtl"))
    extras: dict[str, list[str]] = {}
    for requirement in requires("metamtl") or []:
        name = re.split(r"[\s<>=!~\[;(]", requirement, maxsplit=1)[0]
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", requirement)
        if extra:
            extras.setdefault(extra[1], []).append(name)
        else:
            found = _version(name)
            yield Finding(name, bool(found), found or f"missing: pip install '{requirement}'", needed=True)
    for extra_name, names in sorted(extras.items()):
        missing = [name for name in names if not _version(name)]
        text = f"pip install 'metamtl[{extra_name}]'  (missing: {', '.join(missing)})" if missing else "installed"
        yield Finding(f"extra {extra_name}", not missing, text)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:
        yield Finding("device", False, f"torch cannot be imported: {error}", needed=True)
        return
    yield Finding("cpu", True, f"{os.cpu_count()} processors, {torch.get_num_threads()} threads")
    for number in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(number).total_memory / 2**30
        yield Finding(f"cuda:{number}", True, f"{torch.cuda.get_device_name(number)}, {memory:.0f} GiB")
    if torch.backends.mps.is_available():
        yield Finding("mps", True, "Apple GPU")
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        yield Finding("gpu", True, f"none that this torch ({torch.__version__}) can use; trainer.device=auto takes cpu")


def _places(paths: dict[str, str | None]) -> Iterator[Finding]:
    for key in ("outputs", "cache"):
        folder = Path(paths[key] or ".")
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        try:
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            yield Finding(f"paths.{key}", False, f"{folder}: {error.strerror}; set paths.{key}=FOLDER", needed=True)
            continue
        free = shutil.disk_usage(existing).free / 1e9
        text = f"{folder}, {free:.1f} GB free" + ("" if free > LOW_DISK_GB else "; make room")
        yield Finding(f"paths.{key}", free > LOW_DISK_GB, text)


def _data(paths: dict[str, str | None]) -> Iterator[Finding]:
    from metamtl.data.presence import presence
    from metamtl.data.source import DataPaths

    data, cache = paths["data"], paths["cache"]
    assert cache is not None
    folder = Path(data).expanduser() if data else None
    if folder is not None and not folder.is_dir():
        yield Finding("paths.data", False, f"{data}: there is no such folder; mkdir -p {shlex.quote(str(folder))}")
        folder = None
    for found in presence(DataPaths(folder, Path(cache).expanduser())):
        where = f"{', '.join(map(str, found.where))}: " if found.where else ""
        yield Finding(f"data={found.name}", found.present, where + found.how)


def _print(findings: Sequence[Finding]) -> None:
    if not sys.stdout.isatty():
        for finding in findings:
            print(f"{'ok' if finding.good else '--'}\t{finding.name}\t{finding.text}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None)
    for finding in findings:
        mark = Text("ok", "green") if finding.good else Text("--", "red" if finding.needed else "yellow")
        table.add_row(mark, Text(finding.name, "bold"), Text(finding.text))
    Console().print(table)
