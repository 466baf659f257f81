"""`metamtl dashboard`: the runs in a browser, live while they train."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from metamtl.commands.arguments import Parser
from metamtl.errors import MetamtlError

PORT = 8050

HELP = f"""usage: metamtl dashboard [PATH...] [--port PORT] [--host HOST] [--open]

Look at runs in a browser, live while they train: a table of all, curves, what the settings do, groups against a
baseline, one run in full, families. Every view is a link. Nothing is written. PATH is what `metamtl compare` takes; by
default outputs.

  --port PORT   by default {PORT}; 0 takes a free one
  --host HOST   by default 127.0.0.1, which this machine alone reaches; there is no password, so on another address
                everyone who reaches it reads configs, logs and figures
  --open        open it in your browser

examples:
  metamtl dashboard
  metamtl dashboard outputs/SWEEP other/outputs --port 0
  ssh -L 8050:127.0.0.1:8050 machine      then `metamtl dashboard` there, and http://127.0.0.1:8050 here"""


def main(arguments: Sequence[str]) -> int:
    """Serve until interrupted; raises UsageError for paths that are not there, MetamtlError for a taken port."""
    options = _parse(arguments)
    require_dash()
    from metamtl.dashboard.server import LOCAL, server_of
    from metamtl.dashboard.watch import Watch

    server = server_of(Watch(options.paths), options.host, options.port)
    if options.host not in LOCAL:
        print(
            f"Warning: there is no password: whoever reaches {options.host} reads configs, logs and figures.",
            file=sys.stderr,
        )
    shown = f"[{options.host}]" if ":" in options.host else options.host
    print(f"http://{shown}:{server.port} (Ctrl-C ends it)", flush=True)
    if options.open:
        import webbrowser

        webbrowser.open(f"http://{shown}:{server.port}")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass  # how it is meant to end
    finally:
        server.server_close()
    return 0


def require_dash() -> None:
    """Raises MetamtlError where what the extra installs is missing."""
    if any(find_spec(name) is None for name in ("dash", "plotly")):
        raise MetamtlError("The dashboard and reports need Dash and Plotly: pip install 'metamtl[dashboard]'")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("dashboard")
    parser.add_argument("paths", nargs="*", metavar="PATH", default=["outputs"])
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--open", action="store_true")
    options = parser.parse_args(arguments)
    if not 0 <= options.port < 1 << 16:
        parser.error(f"--port {options.port} is no port")
    return options
