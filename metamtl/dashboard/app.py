"""The page in the browser: an address goes in, blocks come out, every few seconds again while something changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update

from metamtl.dashboard.components import components, head
from metamtl.dashboard.pages.index import blocks_of
from metamtl.dashboard.view import View
from metamtl.dashboard.watch import Watch

STYLE = Path(__file__).parent / "assets" / "style.css"
_EVERY = 3000  # milliseconds; nothing is sent where nothing has changed


def app_of(watch: Watch) -> Dash:
    """The Dash app over the watched runs."""
    app = Dash("metamtl", title="metamtl", update_title="", assets_folder=str(STYLE.parent))
    app.layout = html.Div(
        [
            html.A("Skip to the runs", href="#main", className="skip"),
            dcc.Location(id="address", refresh="callback-nav"),
            html.Header([html.Strong("metamtl"), html.Div(id="head")]),
            html.Main(html.P("Reading the runs …"), id="main", tabIndex="-1"),
            dcc.Interval(id="clock", interval=_EVERY),
            dcc.Store(id="state", data=""),
        ]
    )

    @app.callback(Output("head", "children"), Input("address", "pathname"), Input("address", "search"))
    def renew_head(pathname: str | None, search: str | None) -> list[Any]:
        return head(_view(pathname, search))

    @app.callback(
        Output("main", "children"),
        Output("state", "data"),
        Input("address", "pathname"),
        Input("address", "search"),
        Input("clock", "n_intervals"),
        State("state", "data"),
    )
    def renew(pathname: str | None, search: str | None, _: int | None, shown: str) -> tuple[Any, Any]:
        view, snapshot = _view(pathname, search), watch.snapshot()
        state = f"{snapshot.state} {view.link()}"
        if state == shown:  # what the reader has scrolled, zoomed and opened stays
            return no_update, no_update
        return components(blocks_of(snapshot, view)), state

    return app


def _view(pathname: str | None, search: str | None) -> View:
    return View.of(f"{pathname or '/'}{search or ''}")
