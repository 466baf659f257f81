"""The runs under some paths as they are now, collected again while they train."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from metamtl.comparison import cached
from metamtl.comparison.collect import collect
from metamtl.comparison.groups import Group, grouped
from metamtl.comparison.record import RunRecord
from metamtl.comparison.where import where
from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.folder import RunFolder

_LEAST_PAUSE = 2.0  # seconds
_SHARE = 20  # of a core, looking again takes a twentieth at most: the runs need it more
_KEPT_FILTERS = 16


def identity(path: Path) -> str:
    """What an address calls the run in `path`: the same in every session, and no path."""
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Shown:
    """The runs that a filter leaves, and their groups; `problem` where the filter cannot be understood."""

    records: Sequence[RunRecord]
    problem: str | None = None

    @cached_property
    def groups(self) -> list[Group]:
        """Runs that differ only by seed, as in `metamtl compare`."""
        return grouped(self.records)

    @cached_property
    def group_of(self) -> Mapping[Path, Group]:
        """A run's path -> its group."""
        return {record.path: group for group in self.groups for record in group.records}

    def chosen(self, identities: Sequence[str]) -> list[Group]:
        """The groups of these identities, in their order; unknown ones are left out."""
        known = {group_identity(group): group for group in self.groups}
        return [known[one] for one in identities if one in known]


@dataclass(frozen=True)
class Snapshot:
    """All runs at one moment; `state` differs whenever something that a page shows does."""

    records: Sequence[RunRecord]
    state: str
    _filtered: dict[str, Shown] = field(default_factory=dict)

    @cached_property
    def by_identity(self) -> Mapping[str, RunRecord]:
        """Identity -> run: the only way from an address to a folder."""
        return {identity(record.path): record for record in self.records}

    def shown(self, conditions: str) -> Shown:
        """The runs of which `conditions` hold; all of them where they cannot be understood."""
        if conditions not in self._filtered:
            if len(self._filtered) >= _KEPT_FILTERS:
                self._filtered.clear()
            self._filtered[conditions] = self._shown(conditions)
        return self._filtered[conditions]

    def _shown(self, conditions: str) -> Shown:
        try:
            return Shown(where(self.records, conditions))
        except UsageError as error:
            return Shown(self.records, str(error))


class Watch:
    """Collects the runs under `paths` when it is asked, no more often than the machine can spare."""

    def __init__(self, paths: Sequence[str | Path], clock: Callable[[], float] = time.monotonic) -> None:
        """Raises UsageError where a path is not there."""
        self._paths = paths
        self._clock = clock
        self._lock = threading.Lock()
        self._snapshot = Snapshot((), "")
        self._due = 0.0
        self._collect()

    def snapshot(self) -> Snapshot:
        """The runs now; those of before where the folders are gone for the moment."""
        with self._lock:
            if self._clock() >= self._due:
                try:
                    self._collect()
                except MetamtlError:
                    self._due = self._clock() + _LEAST_PAUSE
            return self._snapshot

    def _collect(self) -> None:
        began = self._clock()
        records = collect(self._paths)
        state = _state(records)
        if state != self._snapshot.state:  # otherwise what was worked out of the runs is still true
            self._snapshot = Snapshot(records, state)
        now = self._clock()
        self._due = now + max(_LEAST_PAUSE, _SHARE * (now - began))


def group_identity(group: Group) -> str:
    """What an address calls a group: its oldest run, which stays while others join."""
    return identity(group.records[0].path)


def _state(records: Sequence[RunRecord]) -> str:
    """The files that can change: those of runs that train, and how the others ended."""
    parts = []
    for record in records:
        files = [record.folder.meta_file, record.folder.result_file]
        if record.state == "running":
            files.append(RunFolder(record.run).metrics_file)
        parts.append((str(record.path), record.state, *map(cached.stamp, files)))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
