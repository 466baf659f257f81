"""One file fetched safely: into a part file beside the target, its published sum checked, then renamed.

No file of the user's is ever deleted or overwritten: the target appears whole or not at all, the part file carries
our own suffix (browsers leave a plain `.part`), and two processes that fetch the same file take turns at a lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from metamtl.errors import MetamtlError

PART_SUFFIX = ".metamtl.part"
TIMEOUT = 30.0  # seconds without a byte; a slow line is fine, a dead one is not

_BLOCK = 2**18
_LOG = logging.getLogger(__name__)


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    max_bytes: int,
    timeout: float = TIMEOUT,
) -> Path:
    """`target`, downloaded from `url` unless it is already there; its sum (sha256, or md5 where no other is published)
    must be the official one and its size at most `max_bytes`.

    Raises MetamtlError, one sentence that says what is missing, where to get it and where to put it by hand.
    """
    if sha256 is None and md5 is None:
        raise ValueError("fetch() needs an official checksum")
    check = ("sha256", sha256) if sha256 is not None else ("md5", str(md5))
    if target.exists():
        return _existing(target, url, check)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _part_file(target) as part:
            if target.exists():  # another process fetched it while this one waited
                return _existing(target, url, check)
            _LOG.info("Downloading %s to %s", url, target)
            _receive(url, part, check, max_bytes, timeout)
            _publish(Path(part.name), target)
    except (OSError, http.client.HTTPException, _WrongBytesError) as error:
        raise MetamtlError(
            f"{target.name} is missing and could not be downloaded ({_reason(error)}): get it from {url} and put it "
            f"at {target}, or set paths.data to the folder that has it."
        ) from error
    return target


class _WrongBytesError(Exception):
    """What came is not the file."""


def _receive(url: str, part: IO[bytes], check: tuple[str, str], max_bytes: int, timeout: float) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "metamtl"})
    digest = hashlib.new(check[0], usedforsecurity=False)
    size = 0
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        expected = answer.headers.get("Content-Length")
        while block := answer.read(_BLOCK):
            if size == 0 and block.lstrip()[:15].lower().startswith((b"<!doctype", b"<html")):
                raise _WrongBytesError("the server sent a web page in place of the file")
            size += len(block)
            if size > max_bytes:
                raise _WrongBytesError(f"the server sent more than {max_bytes:,} bytes")
            digest.update(block)
            part.write(block)
    if expected is not None and size != int(expected):
        raise _WrongBytesError(f"the connection ended after {size:,} of {int(expected):,} bytes")
    if digest.hexdigest() != check[1]:
        raise _WrongBytesError(f"its {check[0]} is {digest.hexdigest()} and the published one is {check[1]}")
    part.flush()
    os.fsync(part.fileno())


def _publish(part: Path, target: Path) -> None:
    """Gives the finished part its name; a target that has appeared meanwhile is left as it is."""
    try:
        target.hardlink_to(part)  # unlike a rename, fails where the target exists
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        if not target.exists():
            part.rename(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def _part_file(target: Path) -> Iterator[IO[bytes]]:
    """The part file, empty, locked, gone at the end; left by a killed process it is taken over, in use waited for."""
    path = target.with_name(target.name + PART_SUFFIX)
    while True:
        with path.open("ab") as part:
            fcntl.flock(part, fcntl.LOCK_EX)
            if not _is_named(part, path):
                continue  # its owner finished and the name is gone; writing here would write into the published file
            part.truncate(0)
            try:
                yield part
            finally:
                path.unlink(missing_ok=True)
            return


def _is_named(stream: IO[bytes], path: Path) -> bool:
    """Whether `path` is still a name of the open file."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _existing(target: Path, url: str, check: tuple[str, str]) -> Path:
    digest = hashlib.new(check[0], usedforsecurity=False)
    with target.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() == check[1]:
        return target
    raise MetamtlError(
        f"{target} is there and is not the file that {url} publishes (its {check[0]} differs): move it away, and it "
        "will be downloaded."
    )


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"no connection: {error.reason}"
    if isinstance(error, TimeoutError):
        return "the server stopped answering"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
