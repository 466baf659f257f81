"""Blocks as Dash components. React escapes every text, so a name is shown as it is and does nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dash import dcc, html

from metamtl.dashboard.blocks import Block, Cell, Chart, Choices, Folded, Image, Link, Pre, Progress, Table, Text, side
from metamtl.dashboard.view import PAGES, View

CHART_OPTIONS: Any = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["lasso2d", "select2d"],
    "showSendToCloud": False,  # plotly.js 7 would offer to upload a chart; figures stay on this machine
    "plotlyServerURL": "",
}


def components(blocks: Iterable[Block]) -> list[Any]:
    """A component a block."""
    return [_component(block) for block in blocks]


def head(view: View) -> list[Any]:
    """The pages as links, and the filter as a form: sending it is going to the same page with another address."""
    kept = view.to(page=view.page, where="")
    pages = [
        _to(title, View(page, where=view.where), "page" if page == view.page else None) for page, title in PAGES.items()
    ]
    hidden = [dcc.Input(type="hidden", name=name, value=value) for name, value in kept.without_where().items()]
    words = dcc.Input(
        id="where", type="text", name="where", value=view.where, placeholder="algo=maml,shots=1,status=completed"
    )
    form = html.Form(
        [html.Label("Filter", htmlFor="where"), words, *hidden, html.Button("Apply", type="submit")],
        action=f"/{view.page}",
        method="get",
        role="search",
    )
    return [html.Nav(pages, **_aria(label="Pages")), form]


def _component(block: Block) -> Any:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Choices):
        return _choices(block)
    if isinstance(block, Chart):
        return _chart(block)
    if isinstance(block, Pre):
        return html.Section([html.H2(block.title), html.Pre(block.text, tabIndex="0")])
    if isinstance(block, Image):
        return html.Figure([html.Img(src=block.source, alt=block.title), html.Figcaption(block.title)])
    if isinstance(block, Folded):
        return html.Details([html.Summary(block.title), *components(block.blocks)])
    return _text(block)


def _text(block: Text) -> Any:
    if block.kind == "heading":
        return html.H1(block.text)
    return html.P(block.text, className=block.kind, role="alert" if block.kind == "warning" else None)


def _table(block: Table) -> Any:
    top = [
        html.Th(_cell(cell), className=side(block, place, cell), scope="col") for place, cell in enumerate(block.head)
    ]
    rows = [
        html.Tr([html.Td(_cell(cell), className=side(block, place, cell)) for place, cell in enumerate(row)])
        for row in block.rows
    ]
    titles = [html.Thead(html.Tr(top))] if any(block.head) else []
    table = html.Table([html.Caption(block.caption), *titles, html.Tbody(rows)])
    return html.Div(table, className="wide", tabIndex="0", role="region", **_aria(label=block.caption))


def _cell(cell: Cell) -> Any:
    if isinstance(cell, Link):
        return _to(cell.text, cell.view)
    if isinstance(cell, Progress):
        bar = [html.Progress(value=str(cell.step), max=str(cell.steps))] if cell.steps else []
        return html.Span([*bar, cell.text], className="progress")
    return cell


def _choices(block: Choices) -> Any:
    links = [_to(text, view, "true" if chosen else None) for text, view, chosen in block.options]
    return html.Div([html.Span(block.label), *links], className="choices", role="group", **_aria(label=block.label))


def _to(text: str, view: View, current: str | None = None) -> Any:
    """A link within the page; what is current is told to screen readers too."""
    link = dcc.Link(text, href=view.link())
    return html.Span(link, className="current", **_aria(current=current)) if current else link


def _chart(block: Chart) -> Any:
    graph = dcc.Graph(
        figure={"data": list(block.data), "layout": dict(block.layout)},
        config=CHART_OPTIONS,
        style={"height": f"{block.height}px", "minWidth": f"{block.least_width}px"},
    )
    picture = html.Div(graph, className="chart-frame", role="img", **_aria(label=block.summary))
    return html.Figure([html.H2(block.title), picture, html.Figcaption(block.summary)])


def _aria(**values: str) -> dict[str, Any]:
    """Names for screen readers, under attributes that no keyword of Python can spell."""
    return {f"aria-{name}": value for name, value in values.items()}
