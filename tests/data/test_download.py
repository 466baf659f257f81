import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from metamtl.data.download import PART_SUFFIX, fetch
from metamtl.data.official import Official
from metamtl.data.places import downloads
from metamtl.data.source import DataPaths
from metamtl.errors import MetamtlError, UsageError

DATA = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(DATA).hexdigest()
MD5 = hashlib.md5(DATA).hexdigest()
PAGE = b"\n<!DOCTYPE html><html><title>Quota exceeded</title></html>"


class Answers(BaseHTTPRequestHandler):
    served: list[str]

    def do_GET(self) -> None:
        self.served.append(self.path)
        if self.path == "/missing.zip":
            self.send_error(404)
            return
        body = PAGE if self.path == "/page.zip" else DATA
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/short.zip" else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Answers.served = []
    http = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("sums", [{"sha256": SHA256}, {"md5": MD5}])
def test_a_good_file_arrives_whole_and_alone(server: str, tmp_path: Path, sums: dict[str, str]) -> None:
    target = tmp_path / "new" / "file.zip"
    assert fetch(f"{server}/file.zip", target, max_bytes=len(DATA), **sums) == target  # type: ignore[arg-type]
    assert target.read_bytes() == DATA
    assert only(target.parent) == ["file.zip"]


@pytest.mark.parametrize(
    ("name", "limit", "sum_", "reason"),
    [
        ("page.zip", len(DATA), SHA256, "web page"),
        ("file.zip", len(DATA), "0" * 64, "its sha256 is"),
        ("file.zip", len(DATA) - 1, SHA256, "more than"),
        ("short.zip", len(DATA), SHA256, "ended after"),
        ("missing.zip", len(DATA), SHA256, "404"),
    ],
)
def test_a_bad_answer_leaves_nothing(
    server: str, tmp_path: Path, name: str, limit: int, sum_: str, reason: str
) -> None:
    target = tmp_path / name
    with pytest.raises(MetamtlError) as caught:
        fetch(f"{server}/{name}", target, sha256=sum_, max_bytes=limit)
    message = str(caught.value)
    assert all(part in message for part in (reason, f"{server}/{name}", str(target), "paths.data")), message
    assert "\n" not in message
    assert only(tmp_path) == []


def test_offline_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound and not listening: nobody answers there
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/file.zip"
        with pytest.raises(MetamtlError, match="no connection") as caught:
            fetch(url, tmp_path / "file.zip", sha256=SHA256, max_bytes=10)
    assert url in str(caught.value) and str(tmp_path / "file.zip") in str(caught.value)
    assert only(tmp_path) == []


def test_a_server_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.zip"
        with pytest.raises(MetamtlError, match="could not be downloaded"):
            fetch(url, tmp_path / "file.zip", sha256=SHA256, max_bytes=10, timeout=0.2)


def test_files_of_the_user_stay(server: str, tmp_path: Path) -> None:
    target = tmp_path / "file.zip"
    target.write_bytes(b"mine")
    (tmp_path / "file.zip.part").write_bytes(b"a browser's")
    with pytest.raises(MetamtlError, match="move it away"):
        fetch(f"{server}/file.zip", target, sha256=SHA256, max_bytes=len(DATA))
    assert target.read_bytes() == b"mine"
    target.unlink()
    fetch(f"{server}/file.zip", target, sha256=SHA256, max_bytes=len(DATA))
    assert (tmp_path / "file.zip.part").read_bytes() == b"a browser's"
    fetch(f"{server}/file.zip", target, sha256=SHA256, max_bytes=len(DATA))
    assert Answers.served == ["/file.zip"]  # neither the user's nor the finished file was fetched again


def test_a_part_left_by_a_killed_process_is_taken_over(server: str, tmp_path: Path) -> None:
    (tmp_path / f"file.zip{PART_SUFFIX}").write_bytes(b"torn")
    fetch(f"{server}/file.zip", tmp_path / "file.zip", sha256=SHA256, max_bytes=len(DATA))
    assert (tmp_path / "file.zip").read_bytes() == DATA
    assert only(tmp_path) == ["file.zip"]


def test_many_at_once_make_one_file(server: str, tmp_path: Path) -> None:
    target = tmp_path / "file.zip"
    failures: list[BaseException] = []

    def one() -> None:
        try:
            fetch(f"{server}/file.zip", target, sha256=SHA256, max_bytes=len(DATA))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert target.read_bytes() == DATA
    assert only(tmp_path) == ["file.zip"]
    assert len(Answers.served) == 1


def test_no_sum_no_download(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="checksum"):
        fetch("http://127.0.0.1/x", tmp_path / "x", max_bytes=1)


def test_a_folder_that_is_not_there_is_not_made_for_a_mistyped_name(tmp_path: Path) -> None:
    made = Official("made", "http://nowhere.invalid/", "sha256", {"a.zip": "0" * 64}, (), 10)
    with pytest.raises(
        UsageError, match=r"there is no such folder: make it \(mkdir -p .*/dtaa\), or leave paths.data out"
    ):
        made.find_or_fetch(DataPaths(tmp_path / "dtaa", tmp_path / "cache"))
    assert not list(tmp_path.iterdir())
    assert downloads(DataPaths(tmp_path, tmp_path / "cache")) == tmp_path
    assert downloads(DataPaths(None, tmp_path / "cache")) == tmp_path / "cache" / "downloads"
