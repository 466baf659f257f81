"""The pages as one HTML file that needs nothing else: plotly.js is in it once, charts are drawn when seen."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from metamtl.comparison.record import RunRecord
from metamtl.dashboard.app import STYLE
from metamtl.dashboard.blocks import Block, Cell, Chart, Choices, Folded, Image, Link, Pre, Progress, Table, Text, side
from metamtl.dashboard.components import CHART_OPTIONS
from metamtl.dashboard.pages.curves import chosen_groups, drawn, stream_metric
from metamtl.dashboard.pages.index import blocks_of
from metamtl.dashboard.view import PAGES, View
from metamtl.dashboard.watch import Snapshot, identity

_MOST_RUNS = 30
_MOST_CURVES = 3
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
_DRAW = """
const charts = JSON.parse(document.getElementById("charts").textContent);
const options = JSON.parse(document.getElementById("options").textContent);
function draw(place) {
  if (place.dataset.drawn) return;
  place.dataset.drawn = "yes";
  const chart = charts[place.id];
  Plotly.newPlot(place, chart.data, chart.layout, options);
}
const seen = new IntersectionObserver(
  entries => entries.filter(entry => entry.isIntersecting).forEach(entry => draw(entry.target)),
  {rootMargin: "600px"});
document.querySelectorAll(".chart").forEach(place => seen.observe(place));
addEventListener("beforeprint", () => document.querySelectorAll(".chart").forEach(draw));
"""


@dataclass
class _Written:
    """What has been written: the charts that scripts will draw, and the runs that links can lead to."""

    runs: frozenset[str]
    charts: dict[str, Any] = field(default_factory=dict)


def report(snapshot: Snapshot, view: View) -> str:
    """The file's text; the view says what is filtered, chosen and compared, as on the page."""
    records = snapshot.shown(view.where).records[-_MOST_RUNS:]
    written = _Written(frozenset(identity(record.path) for record in records))
    pages = [page for page in PAGES if page != "run"]
    parts = [_section(page, PAGES[page], _blocks(snapshot, view.to(page=page)), written) for page in pages]
    parts.append(_runs(snapshot, records, view, written))
    links = "".join(f'<a href="#{page}">{_text(title)}</a>' for page, title in PAGES.items())
    charts, options = _json(written.charts), _json(CHART_OPTIONS)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width"><title>metamtl report</title>'
        f"<style>{STYLE.read_text(encoding='utf-8')}</style><script>{_plotly()}</script></head><body>"
        f'<header><strong>metamtl</strong><nav aria-label="Pages">{links}</nav></header><main>{"".join(parts)}</main>'
        f'<script type="application/json" id="charts">{charts}</script>'
        f'<script type="application/json" id="options">{options}</script><script>{_DRAW}</script></body></html>\n'
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    # a closing tag within would end the script
    return str(get_plotlyjs()).replace("</script", "<\\/script")


def _blocks(snapshot: Snapshot, view: View) -> list[Block]:
    """Those of the page; of curves, where none is chosen, the first few, since a file has no other address."""
    blocks = blocks_of(snapshot, view)
    if view.page != "curves":
        return blocks
    groups = chosen_groups(snapshot.shown(view.where), view)
    metric, names = stream_metric(groups, view)
    if metric is None or metric == view.metric:
        return blocks
    others = [name for name in (f"train/{metric.partition('/')[2]}", "train/loss", "val/loss") if name != metric]
    return (
        blocks
        + [one for name in others if name in names.every for one in drawn(groups, name, view)][: 2 * _MOST_CURVES]
    )


def _runs(snapshot: Snapshot, records: Sequence[RunRecord], view: View, written: _Written) -> str:
    parts = []
    for record in reversed(records):
        one = identity(record.path)
        blocks = blocks_of(snapshot, view.to(page="run", run=one))[1:]
        inside = "".join(_html(block, written) for block in blocks)
        parts.append(f'<details id="run-{one}"><summary>{_text(record.name)}</summary>{inside}</details>')
    all_of_them = len(snapshot.shown(view.where).records)
    told = f"<p>The newest {_MOST_RUNS} of {all_of_them} runs.</p>" if all_of_them > _MOST_RUNS else ""
    return f'<section id="run"><h1>Runs one by one</h1>{told}{"".join(parts)}</section>'


def _section(page: str, title: str, blocks: Iterable[Block], written: _Written) -> str:
    inside = "".join(_html(block, written) for block in blocks)
    return f'<section id="{page}"><h1>{_text(title)}</h1>{inside}</section>'


def _html(block: Block, written: _Written) -> str:
    if isinstance(block, Table):
        return _table(block, written)
    if isinstance(block, Choices):
        chosen = ", ".join(_text(text) for text, _, is_chosen in block.options if is_chosen)
        return f'<p class="note">{_text(block.label)}: {chosen}</p>' if chosen else ""
    if isinstance(block, Chart):
        return _chart(block, written)
    if isinstance(block, Pre):
        return f'<h2>{_text(block.title)}</h2><pre tabindex="0">{_text(block.text)}</pre>'
    if isinstance(block, Image):
        title = _text(block.title)
        return f'<figure><img src="{_text(block.source)}" alt="{title}"><figcaption>{title}</figcaption></figure>'
    if isinstance(block, Folded):
        inside = "".join(_html(one, written) for one in block.blocks)
        # links to other views say nothing in a file
        return f"<details><summary>{_text(block.title)}</summary>{inside}</details>" if inside else ""
    return _sentence(block)


def _sentence(block: Text) -> str:
    tag = "h1" if block.kind == "heading" else "p"
    return f'<{tag} class="{block.kind}">{_text(block.text)}</{tag}>'


def _table(block: Table, written: _Written) -> str:
    def row(cells: Sequence[Cell], tag: str) -> str:
        kinds = [side(block, place, cell) for place, cell in enumerate(cells)]
        return "".join(
            f'<{tag} class="{kind}">{_cell(cell, written)}</{tag}>' for kind, cell in zip(kinds, cells, strict=True)
        )

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in block.rows)
    top = f"<thead><tr>{row(block.head, 'th')}</tr></thead>" if any(block.head) else ""
    table = f"<table><caption>{_text(block.caption)}</caption>{top}<tbody>{body}</tbody></table>"
    return f'<div class="wide" tabindex="0" role="region" aria-label="{_text(block.caption)}">{table}</div>'


def _cell(cell: Cell, written: _Written) -> str:
    if isinstance(cell, Link):
        there = cell.view.page == "run" and cell.view.run in written.runs
        return f'<a href="#run-{cell.view.run}">{_text(cell.text)}</a>' if there else _text(cell.text)
    return _text(cell.text if isinstance(cell, Progress) else cell)


def _chart(block: Chart, written: _Written) -> str:
    name = f"chart-{len(written.charts)}"
    written.charts[name] = {"data": block.data, "layout": block.layout}
    place = f'<div class="chart" id="{name}" role="img" aria-label="{_text(block.summary)}"'
    drawn_there = f'{place} style="height:{block.height}px;min-width:{block.least_width}px"></div>'
    framed = f'<div class="chart-frame">{drawn_there}</div>'
    return f"<figure><h2>{_text(block.title)}</h2>{framed}<figcaption>{_text(block.summary)}</figcaption></figure>"


def _text(text: str) -> str:
    return html.escape(text, quote=True)


def _json(value: Any) -> str:
    """JSON that can stand in a script: no `<` can close it."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
