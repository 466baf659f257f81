"""Who is answered, with which headers, and what an address can reach."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("dash")

from flask.testing import FlaskClient
from werkzeug.serving import BaseWSGIServer

from metamtl.dashboard.server import served_to, server_of
from metamtl.dashboard.watch import Watch
from metamtl.errors import MetamtlError
from tests.comparison.made import finished


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BaseWSGIServer]:
    finished(tmp_path, "maml")
    made = server_of(Watch([tmp_path]), "127.0.0.1", 0)
    yield made
    made.server_close()


@pytest.fixture
def client(server: BaseWSGIServer) -> FlaskClient:
    found: FlaskClient = server.app.test_client()  # type: ignore[attr-defined]
    return found


PLACES = ("/", "/curves", "/_dash-layout", "/_dash-dependencies", "/assets/style.css")


@pytest.mark.parametrize("place", PLACES)
def test_a_foreign_name_is_refused_everywhere(client: FlaskClient, place: str) -> None:
    assert client.get(place, headers={"Host": "evil.example:8050"}).status_code == 403
    assert client.get(place, headers={"Host": "localhost:8050"}).status_code == 200
    assert client.post("/_dash-update-component", json={}, headers={"Host": "evil.example"}).status_code == 403


def test_the_browser_is_told_to_load_and_frame_nothing_foreign(client: FlaskClient) -> None:
    headers = client.get("/").headers
    assert "script-src 'self' 'sha256-" in headers["Content-Security-Policy"]
    assert "unsafe-eval" not in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    "place", ["/assets/../server.py", "/assets/%2e%2e/app.py", "/assets//etc/passwd", "/..%2fapp.py"]
)
def test_no_file_is_reached_by_an_address(client: FlaskClient, place: str) -> None:
    answer = client.get(place)
    assert answer.status_code == 404 or b"_dash-config" in answer.data  # a page of the app, which knows no such name
    assert b"import" not in answer.data.split(b"<footer>")[0]


@pytest.mark.parametrize(
    ("asked", "host", "answered"),
    [
        ("127.0.0.1:8050", "127.0.0.1", True),
        ("localhost", "127.0.0.1", True),
        ("[::1]:8050", "127.0.0.1", True),
        ("evil.example", "127.0.0.1", False),
        ("127.0.0.1.evil.example", "127.0.0.1", False),
        ("192.168.0.9:8050", "127.0.0.1", False),
        ("", "127.0.0.1", False),
        ("[", "127.0.0.1", False),
        ("192.168.0.9:8050", "0.0.0.0", True),
        ("evil.example", "0.0.0.0", False),
        ("box.lan:8050", "box.lan", True),
        ("localhost.", "0.0.0.0", True),
    ],
)
def test_which_names_are_ours(asked: str, host: str, answered: bool) -> None:
    assert served_to(asked, host) is answered


def test_a_taken_port_is_told(server: BaseWSGIServer, tmp_path: Path) -> None:
    with pytest.raises(MetamtlError, match="cannot be taken"):
        server_of(Watch([tmp_path]), "127.0.0.1", server.port)
