import gzip
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from metamtl.data import archive
from metamtl.data.archive import members
from metamtl.errors import MetamtlError
from tests.data.image_files import unpacked, zipped

FILES = {"a/1.txt": b"one", "a/2.txt": b"two" * 1000, "b/1.txt": b""}


def tarred(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as made:  # type: ignore[call-overload]
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
    return path


def test_a_folder_a_zip_and_every_tar_read_alike(tmp_path: Path) -> None:
    backwards = dict(reversed(FILES.items()))
    places = [
        unpacked(tmp_path / "folder", FILES),
        zipped(tmp_path / "x.zip", backwards),
        *(tarred(tmp_path / f"x.{kind}", backwards, f"w:{kind}") for kind in ("", "gz", "bz2", "xz")),
    ]
    for place in places:
        assert list(members(place)) == sorted(FILES.items()), place


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/out.txt", "..\\out.txt", "C:/out.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_that_point_outside_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    make = zipped if kind == "zip" else tarred
    path = make(tmp_path / "inner" / "x" if kind == "zip" else tmp_path / "x", {name: b"x"})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MetamtlError, match="points outside"):
        list(members(path))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as made:
        entry = tarfile.TarInfo("a/link")
        entry.type, entry.linkname = kind, "/etc/passwd"
        made.addfile(entry)
    with pytest.raises(MetamtlError, match="link or a special file"):
        list(members(tmp_path / "x.tar"))


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("a/link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr(entry, "/etc/passwd")
    with pytest.raises(MetamtlError, match="link or a special file"):
        list(members(tmp_path / "x.zip"))


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning):
        path = zipped(tmp_path / "x.zip", [("a", b"1"), ("a", b"2")])
    with pytest.raises(MetamtlError, match="twice"):
        list(members(path))


def test_too_many_members_and_too_large_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (zipped(tmp_path / "x.zip", FILES), tarred(tmp_path / "x.tar", FILES), unpacked(tmp_path / "f", FILES)):
        with monkeypatch.context() as limits:
            limits.setattr(archive, "MAX_MEMBERS", 2)
            with pytest.raises(MetamtlError, match="more than 2 members"):
                list(members(path))
        with monkeypatch.context() as limits:
            limits.setattr(archive, "MAX_MEMBER_BYTES", 2999)
            with pytest.raises(MetamtlError, match="more than the limit"):
                list(members(path))


def test_a_bomb_is_refused_by_what_comes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "FREE_BYTES", 2**20)
    blank = bytes(8 * 2**20)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("blank", blank)
    # Not a tar at all after its first member: the headers declare little, the stream goes on.
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(tarred(tmp_path / "t", FILES, "w").read_bytes() + blank))
    for path in (tmp_path / "x.zip", tmp_path / "x.tar.gz"):
        with pytest.raises(MetamtlError, match="decompression bomb"):
            list(members(path))


def test_a_zip_that_declares_less_than_it_has_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("blank", bytes(100_000))
    true, lie = (100_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")
    data = (tmp_path / "x.zip").read_bytes()
    assert data.count(true) == 2  # the local header and the directory
    (tmp_path / "x.zip").write_bytes(data.replace(true, lie))
    with pytest.raises(MetamtlError, match="damaged or cut short at member 'blank'"):
        list(members(tmp_path / "x.zip"))


@pytest.mark.parametrize("kind", ["zip", "tar", "gz", "xz"])
def test_an_archive_cut_short_anywhere_is_never_read_as_whole(tmp_path: Path, kind: str) -> None:
    files = {f"{i}": os.urandom(700) for i in range(5)}
    path = (
        zipped(tmp_path / "x", files) if kind == "zip" else tarred(tmp_path / "x", files, f"w:{kind}"[: 2 + len(kind)])
    )
    if kind == "tar":
        path = tarred(tmp_path / "x", files, "w")
    whole = path.read_bytes()
    end = len(whole) if kind != "tar" else 5 * (512 + 1024)  # the zeros after the end may be missing
    for size in range(1, end, 97):
        path.write_bytes(whole[:size])
        with pytest.raises(MetamtlError):
            list(members(path))


def test_a_spoiled_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = tarred(tmp_path / "x", {"1": b"x", "2": b"y"}, "w")
    data = bytearray(path.read_bytes())
    data[1024 + 150] ^= 0xFF  # in the checksum of the second header
    path.write_bytes(data)
    with pytest.raises(MetamtlError, match="damaged"):
        list(members(path))


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.zip").write_text("<!DOCTYPE html><title>404</title>")
    with pytest.raises(MetamtlError, match=r"page\.zip is no zip or tar"):
        list(members(tmp_path / "page.zip"))
    with pytest.raises(MetamtlError, match="neither a folder nor a file"):
        list(members(tmp_path / "absent.zip"))


def test_a_folder_that_links_to_itself_ends_and_pipes_are_left(tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "f", FILES)
    (folder / "a" / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    assert dict(members(folder)) == FILES
