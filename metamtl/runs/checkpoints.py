"""Checkpoints as files: bytes with a checksum, the one before kept until the new one is whole.

`<name>.pt` holds the bytes, `<name>.json` their sha256, size and what the caller adds (its step). A pair is
sound when the checksum fits. A save never touches the last sound pair before another one is sound, so a kill
at any byte of any write leaves at least one:

    1. the new bytes go to `<name>.pt.part` and to the disk
    2. where the current pair is sound, its sidecar is copied over the previous one's, then its bytes are
       moved there
    3. the new bytes are renamed to `<name>.pt`, and the new sidecar replaces the old one

Until step 2 moves the bytes the current pair is the sound one, from then until the end of step 3 the previous
one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from metamtl.errors import MetamtlError
from metamtl.runs.files import (
    clear_disk_errors,
    read_json,
    sha256_of,
    sync_folder,
    write_atomic,
    write_json,
    write_synced,
)


class Checkpoint(NamedTuple):
    """What `load` found: the bytes, what was saved beside them, and sentences that the user should see."""

    payload: bytes
    info: dict[str, Any]
    notes: list[str]


def save(folder: Path, name: str, payload: bytes, info: Mapping[str, Any]) -> None:
    """Makes `payload` the checkpoint `name` in `folder`; `info` (JSON values) goes into its sidecar.

    The one before is kept as `previous.pt` (of `last`) or `previous-<name>.pt`. Raises MetamtlError, with
    what was there still sound, where the disk refuses.
    """
    current, previous = _files(folder, name), _files(folder, _previous(name))
    with clear_disk_errors(current.payload):
        folder.mkdir(parents=True, exist_ok=True)
        part = current.payload.with_name(current.payload.name + ".part")
        try:
            write_synced(part, payload)
            # A damaged current pair, left by a kill or a bad disk, must not push out a sound previous one.
            if current.problem() is None:
                write_atomic(previous.sidecar, current.sidecar.read_bytes())
                current.payload.replace(previous.payload)
            part.replace(current.payload)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        sync_folder(folder)
    write_json(current.sidecar, {**info, "sha256": sha256_of(payload), "size": len(payload)})


def load(folder: Path, name: str, step: int | None = None) -> Checkpoint:
    """The checkpoint `name`, or where that is damaged the one before it, which `notes` then says.

    With `step`, one that its sidecar says is of another step will not do. Raises MetamtlError where neither is sound.
    """
    problems: list[str] = []
    for files in (_files(folder, name), _files(folder, _previous(name))):
        problem = files.problem() or files.other_step(step)
        if problem is None:
            info = read_json(files.sidecar)
            notes = [f"{found}: going on from {files.describe(info)}." for found in problems]
            return Checkpoint(files.payload.read_bytes(), info, notes)
        problems.append(problem)
    raise MetamtlError(f"No sound checkpoint '{name}' in {folder} ({'; '.join(problems)}): start a new run.")


class _Files(NamedTuple):
    payload: Path
    sidecar: Path

    def problem(self) -> str | None:
        """Why this pair is not sound; None when it is."""
        if not self.payload.is_file():
            return f"{self.payload.name} is missing"
        try:
            info = read_json(self.sidecar)
            with clear_disk_errors(self.payload, doing="read"):
                # The size is compared first, since it costs nothing.
                sound = self.payload.stat().st_size == info["size"] and sha256_of(self.payload) == info["sha256"]
        except (MetamtlError, KeyError, TypeError):
            return f"{self.payload.name} has no readable sidecar {self.sidecar.name}"
        return None if sound else f"{self.payload.name} is damaged, or a save was cut short"

    def other_step(self, step: int | None) -> str | None:
        """Why a sound pair is not the one asked for; None when it is."""
        found = read_json(self.sidecar).get("step")
        return None if step in (None, found) else f"{self.payload.name} is of step {found}, not {step}"

    def describe(self, info: Mapping[str, Any]) -> str:
        step = info.get("step")
        return self.payload.name if step is None else f"{self.payload.name} (step {step})"


def _files(folder: Path, name: str) -> _Files:
    return _Files(folder / f"{name}.pt", folder / f"{name}.json")


def _previous(name: str) -> str:
    return "previous" if name == "last" else f"previous-{name}"
