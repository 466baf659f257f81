"""meta.json: who made a run, with what, when, and how it ended."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from metamtl.runs.files import read_json, write_json
from metamtl.runs.redact import redact_command, redact_text

Status = Literal["running", "completed", "failed", "interrupted", "pruned"]
Kind = Literal["run", "evaluation"]

_PACKAGES = ("metamtl", "torch", "numpy", "hydra-core", "omegaconf", "torchjd")
_GIT_SECONDS = 10.0


def first_meta(identity: str, kind: Kind, config: Mapping[str, Any], command: Sequence[str]) -> dict[str, Any]:
    """The record of a run that starts now; `device` is filled in by whoever chooses it."""
    return {
        "id": identity,
        "kind": kind,
        "command": redact_command(command),
        "versions": installed_versions(),
        "git": git_state(),
        "device": None,
        "seed": config.get("seed"),
        "started": utc_now(),
        "ended": None,
        "status": "running",
        "reason": None,
        "resumed": [],
    }


def update_meta(path: Path, **changes: Any) -> dict[str, Any]:
    """Changes some keys of the meta.json at `path` in one step and returns the whole; raises MetamtlError."""
    meta: dict[str, Any] = {**read_json(path), **changes}
    write_json(path, meta)
    return meta


def ended(status: Status, reason: str | None) -> dict[str, Any]:
    """The keys that change when a run stops."""
    return {"status": status, "reason": reason and redact_text(reason), "ended": utc_now()}


def resumed(meta: Mapping[str, Any], command: Sequence[str]) -> dict[str, Any]:
    """The keys that change when a stopped run goes on; every earlier resumption stays in the list."""
    entry = {"started": utc_now(), "command": redact_command(command), "versions": installed_versions()}
    resumptions = [*meta.get("resumed", []), {**entry, "git": git_state()}]
    return {"status": "running", "reason": None, "ended": None, "resumed": resumptions}


def utc_now() -> str:
    """The time in UTC to the second, as ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def installed_versions() -> dict[str, str]:
    """The versions of Python and of what decides a run's numbers, read without importing any of it."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def git_state() -> dict[str, Any] | None:
    """Commit and dirtiness of the repository around the current directory; None without git or repository.

    Dirty means that files git knows have changed; unknown ones, such as outputs, do not count.
    """
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no")
    if not commit or changes is None:
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _git(*arguments: str) -> str | None:
    # Without optional locks `git status` writes nothing, so it disturbs no git command of the user's.
    command = ["git", "--no-optional-locks", *arguments]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
