"""Which command trains a trial, and whether it still lives.

A command holds a lock in the sweep's folder, which the system lets go when it dies: on one machine that is known at
once. A command of another machine tells the study every half minute that it lives, and is taken for dead when it has
not for three minutes, by the watch of whoever looks: clocks of machines are not compared.
"""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metamtl.runs.lock import held, hold

BEAT_SECONDS = 30.0
SILENT_SECONDS = 180.0


@dataclass
class Owner:
    """This command, as it signs the trials that it trains; `beats` reads what the others have told the study."""

    record: dict[str, str]
    beats: Callable[[], dict[str, Any]]
    _heard: dict[str, tuple[Any, float]] = field(default_factory=dict)

    def is_me(self, owner: Any) -> bool:
        """Whether the record is this command's."""
        return isinstance(owner, dict) and owner.get("id") == self.record["id"]

    def lives(self, owner: Any) -> bool:
        """Whether the command that signed so is alive; None, which nobody signed, is not."""
        if not isinstance(owner, dict):
            return False
        if self.is_me(owner):
            return True
        if owner.get("host") == self.record["host"]:
            return held(Path(owner["folder"]))
        last, now = self.beats().get(beat_key(owner), None), time.monotonic()
        before, since = self._heard.get(owner["id"], (object(), now))
        if before != last:
            since = now
        self._heard[owner["id"]] = (last, since)
        return now - since < SILENT_SECONDS


def beat_key(owner: dict[str, str]) -> str:
    """Where in the study's attributes a command tells that it lives."""
    return f"beat {owner['id']}"


@contextmanager
def signed(folder: Path, beats: Callable[[], dict[str, Any]]) -> Iterator[Owner]:
    """While inside, this command is alive to all others of the sweep in `folder`."""
    identity = uuid.uuid4().hex
    place = folder / ".owners" / identity
    place.mkdir(parents=True)
    try:
        with hold(place):
            yield Owner({"id": identity, "host": socket.gethostname(), "folder": str(place.absolute())}, beats)
    finally:
        with suppress(OSError):
            (place / ".lock").unlink()
            place.rmdir()
