"""The server of the page: on this machine alone unless told otherwise, and only to those who ask for it by its name.

A page of another site can make a browser ask 127.0.0.1, under a name that its owner points there (DNS rebinding); the
Host header then tells that name, and is refused. Nothing that is asked changes a file.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from urllib.parse import urlsplit

from flask import Flask, Response, abort, request
from werkzeug.serving import BaseWSGIServer, make_server

from metamtl.dashboard.app import app_of
from metamtl.dashboard.watch import Watch
from metamtl.errors import MetamtlError

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def server_of(watch: Watch, host: str, port: int) -> BaseWSGIServer:
    """A server that is bound; port 0 takes a free one. Raises MetamtlError where the address is taken."""
    app = app_of(watch)
    policy = f"default-src 'self'; script-src 'self' {' '.join(app.csp_hashes())}; style-src 'self' 'unsafe-inline'; "
    policy += "img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'"
    guard(app.server, host, policy)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request is of no use to who started it
    try:
        return make_server(host, port, app.server, threaded=True)
    except (OSError, SystemExit) as error:  # werkzeug exits where a port is in use
        raise MetamtlError(
            f"{host}:{port} cannot be taken: another program has it, or it is no address of this machine; "
            "choose another with --port or --host."
        ) from error


def guard(server: Flask, host: str, policy: str) -> None:
    """Refuses foreign names, and has the browser refuse what is not ours."""

    def refuse_foreign_names() -> None:
        if not served_to(request.host, host):
            abort(403, "This dashboard does not answer to that name.")

    def add_headers(response: Response) -> Response:
        response.headers.update({**_HEADERS, "Content-Security-Policy": policy})
        return response

    server.before_request(refuse_foreign_names)
    server.after_request(add_headers)


def served_to(asked: str, host: str) -> bool:
    """Whether a Host header names this dashboard, bound to `host`.

    Bound to this machine alone, its own names do; otherwise also `host`, this machine's name and any address in digits,
    which no foreign site can point here.
    """
    try:
        name = (urlsplit(f"//{asked}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if name in LOCAL or host in LOCAL:
        return name in LOCAL
    return name in (host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()) or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
