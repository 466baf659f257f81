"""Members of a zip, a tar (plain, gz, bz2, xz) or a plain folder, read through one interface and never unpacked.

Nothing is ever written under a name that an archive chose: members are bytes in memory, so a hostile name (`../x`,
`/etc/x`, a link) has nowhere to go; it is refused all the same, since an archive that has one is not a data set.
A compressed tar is decompressed once into an unnamed temporary file, because classes are read in order of their names.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from metamtl.errors import MetamtlError

MAX_MEMBERS = 2_000_000  # the largest usual image set, ImageNet, has 1.4 million files
MAX_MEMBER_BYTES = 512 * 2**20  # a member is held in memory; the largest we read, CIFAR-100's training file, has 155 MB
MAX_TOTAL_BYTES = 256 * 2**30  # ImageNet unpacked has 150 GB
MAX_RATIO = 200  # PNG, JPEG and CIFAR's arrays hardly compress; deflate can reach 1,032, which only a bomb needs
FREE_BYTES = 2**30  # below this total no ratio is asked: a small archive of blank bitmaps is no bomb

_BLOCK = 2**20
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError)


class Archive(Protocol):
    """Regular files under one path, whatever holds them."""

    path: Path
    names: tuple[str, ...]  # sorted, with '/' between the parts; no folders

    def read(self, name: str) -> bytes:
        """The bytes of one member; raises MetamtlError where it is damaged, encrypted or too large."""


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """`path` as an archive: a folder, a zip or a tar, told by its content and not by its name."""
    if path.is_dir():
        yield _Folder(path)
        return
    if not path.is_file():
        raise MetamtlError(f"{path} is neither a folder nor a file.")
    with _reported(path):
        is_zip, is_tar = zipfile.is_zipfile(path), False
        if not is_zip:
            is_tar = _opens_as_tar(path)
    if is_zip:
        with _reported(path):
            zipped = zipfile.ZipFile(path)
        with zipped:
            yield _Zip(path, zipped)
    elif is_tar:
        with _plain_tar(path) as stream:
            yield _Tar(path, stream)
    else:
        raise MetamtlError(f"{path} is no zip or tar archive, or is cut short; get it again.")


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every regular file of the archive or folder at `path`, in order of the names."""
    with opened(path) as archive:
        for name in archive.names:
            yield name, archive.read(name)


class _Folder:
    """A folder the user made; links are followed, because in a user's own folder they are the user's own wish."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names = tuple(sorted(self._walk()))
        _check_count(path, len(self.names))

    def read(self, name: str) -> bytes:
        file = self.path / name
        try:
            size = file.stat().st_size
            _check_member(self.path, name, size)
            return file.read_bytes()
        except OSError as error:
            raise MetamtlError(f"{file} cannot be read: {error.strerror or error}.") from error

    def _walk(self) -> Iterator[str]:
        seen: set[str] = set()
        for folder, inner, files in os.walk(self.path, followlinks=True):
            if os.path.realpath(folder) in seen:  # a link to a parent would be walked without end
                inner.clear()
                continue
            seen.add(os.path.realpath(folder))
            for file in files:
                full = Path(folder, file)
                if full.is_file():  # opening a pipe or a device would wait for ever
                    yield full.relative_to(self.path).as_posix()


class _Zip:
    def __init__(self, path: Path, stream: zipfile.ZipFile) -> None:
        self.path, self._zip = path, stream
        entries = [entry for entry in stream.infolist() if not entry.is_dir()]
        _check_count(path, len(entries))
        for entry in entries:
            mode = entry.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise _refused(path, entry.filename, "is a link or a special file")
            if entry.flag_bits & 1:
                raise _refused(path, entry.filename, "is encrypted")
            _check_member(path, entry.filename, entry.file_size)
        self.names = _checked_names(path, [entry.filename for entry in entries])
        _check_total(path, sum(entry.file_size for entry in entries))

    def read(self, name: str) -> bytes:
        # A zip's declared size can lie; zipfile stops at the declared size and then finds the checksum wrong.
        with _reported(self.path, name), self._zip.open(name) as stream:
            return stream.read()


class _Tar:
    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path = path
        with _reported(path):
            self._tar = tarfile.open(fileobj=stream, mode="r:")  # noqa: SIM115 (its stream is closed by `opened`)
            entries = []
            for entry in self._tar:
                if entry.isdir():
                    continue
                if not entry.isreg() or entry.issparse():
                    raise _refused(path, entry.name, "is a link or a special file")
                _check_member(path, entry.name, entry.size)
                entries.append(entry)
                _check_count(path, len(entries))
            stream.seek(self._tar.offset)
            if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                # tarfile takes a header that is cut off or spoiled for the end; the real end is a block of zeros
                raise tarfile.ReadError("its end is missing")
        self.names = _checked_names(path, [entry.name for entry in entries])
        self._entries = {entry.name: entry for entry in entries}

    def read(self, name: str) -> bytes:
        with _reported(self.path, name):
            stream = self._tar.extractfile(self._entries[name])
            data = stream.read() if stream else b""
        if len(data) != self._entries[name].size:
            raise MetamtlError(f"{self.path} is damaged or cut short at member '{name}'; get it again.")
        return data


def _opens_as_tar(path: Path) -> bool:
    try:
        with _decompressed(path) as stream:
            tarfile.open(fileobj=stream, mode="r:").close()
    except tarfile.TarError:
        return False
    return True


def _decompressed(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        start = stream.read(6)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(path, "rb"))
    if start.startswith(b"BZh"):
        return bz2.open(path, "rb")
    if start.startswith(b"\xfd7zXZ\x00"):
        return lzma.open(path, "rb")
    return path.open("rb")


@contextmanager
def _plain_tar(path: Path) -> Iterator[IO[bytes]]:
    """The tar without its compression, seekable; what really comes out is counted, whatever the headers declare."""
    source = _decompressed(path)
    if isinstance(source, (gzip.GzipFile, bz2.BZ2File, lzma.LZMAFile)):
        with source, tempfile.TemporaryFile() as plain:
            total = 0
            with _reported(path):
                while block := source.read(_BLOCK):
                    total += len(block)
                    _check_total(path, total)
                    plain.write(block)
            plain.seek(0)
            yield plain
    else:
        with source:
            yield source


@contextmanager
def _reported(path: Path, name: str | None = None) -> Iterator[None]:
    """Turns the many ways in which a damaged archive fails into one sentence."""
    try:
        yield
    except MetamtlError:
        raise
    except (*_DAMAGE, RuntimeError, ValueError) as error:
        where = f" at member '{name}'" if name else ""
        raise MetamtlError(f"{path} is damaged or cut short{where} ({error}); get it again.") from error


def _checked_names(path: Path, names: list[str]) -> tuple[str, ...]:
    for name in names:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name.split("/")[0] or "\0" in name:
            raise _refused(path, name, "points outside the archive")
    ordered = tuple(sorted(names))
    for first, second in pairwise(ordered):
        if first == second:
            raise _refused(path, first, "is there twice")
    return ordered


def _check_count(path: Path, count: int) -> None:
    if count > MAX_MEMBERS:
        raise MetamtlError(f"{path} has more than {MAX_MEMBERS:,} members, which is more than any data set we know.")


def _check_member(path: Path, name: str, size: int) -> None:
    if size > MAX_MEMBER_BYTES:
        raise _refused(path, name, f"has {size:,} bytes, more than the limit of {MAX_MEMBER_BYTES:,}")


def _check_total(path: Path, total: int) -> None:
    packed = path.stat().st_size
    if total > min(MAX_TOTAL_BYTES, max(FREE_BYTES, MAX_RATIO * packed)):
        raise MetamtlError(
            f"{path} ({packed:,} bytes) unpacks to {total:,} bytes or more: it is refused as a decompression bomb. "
            "If you trust it, unpack it yourself and point to the folder."
        )


def _refused(path: Path, name: str, reason: str) -> MetamtlError:
    return MetamtlError(f"{path} is refused: its member {name!r} {reason}. Get it again from where it is published.")
