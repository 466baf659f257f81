"""One process at a time on a run: a lock on <run>/.lock, which the system lets go when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from metamtl.errors import MetamtlError
from metamtl.runs.files import clear_disk_errors, write_all
from metamtl.runs.meta import utc_now

_TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}
_logger = logging.getLogger(__name__)


@contextmanager
def hold(run: Path) -> Iterator[None]:
    """Holds the run at `run` for this process; raises MetamtlError that names who has it already.

    On a file system without locks (some network ones) it warns and goes on.
    """
    path = run / ".lock"
    with clear_disk_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _take(descriptor, run)
        # The file stays: removing it would let a third process lock a new one while a second waits on the
        # old.
        yield
    finally:
        os.close(descriptor)


def held(run: Path) -> bool:
    """Whether a process holds the run at `run`; False where there is no such folder, or no locks."""
    try:
        descriptor = os.open(run / ".lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _TAKEN
    finally:
        os.close(descriptor)
    return False


def deserted(run: Path) -> bool:
    """Whether the last process that held the run at `run` was one of this machine and is gone; False if unknown.

    Only looks: taking the lock to see whether it is free would refuse a process that starts at that moment.
    """
    try:
        holder = json.loads((run / ".lock").read_bytes())
        pid, host = int(holder["pid"]), holder["host"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's process, or no number of one
        return False
    return False


def _take(descriptor: int, run: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            raise MetamtlError(f"The run {run} is in use{_holder(descriptor)}.") from error
        if error.errno not in _NO_LOCKS_HERE:
            raise MetamtlError(f"Cannot lock the run {run}: {error.strerror}.") from error
        _logger.warning("%s lies on a file system without locks: run one process at a time on it.", run)
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": utc_now()}
    with suppress(OSError):  # Who holds it is a courtesy: on a full disk the lock itself is enough.
        os.ftruncate(descriptor, 0)
        write_all(descriptor, json.dumps(holder).encode())


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        pid, host, since = holder["pid"], holder["host"], holder["since"]
    except (OSError, ValueError, KeyError, TypeError):
        return ": wait for the process that holds it, or stop that one"
    return f" by process {pid} on {host} since {since}: wait for it, or stop it with `kill {pid}` there"
