"""The report as text: whole, escaped, with everything in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("dash")

from metamtl.dashboard.report import report
from metamtl.dashboard.view import PAGES, View
from metamtl.dashboard.watch import Watch
from tests.dashboard.made import HOSTILE, every_kind, hostile


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    every_kind(folder)
    hostile(folder)
    return folder


def test_every_page_and_run_is_in_it_and_plotly_once(outputs: Path) -> None:
    watch = Watch([outputs])
    text = report(watch.snapshot(), View())
    for page in PAGES:
        assert f'<section id="{page}">' in text
    assert text.count('<details id="run-') == len(watch.snapshot().records)
    assert text.count("plotly.js v") == 1
    assert not re.search(r'(?:src|href)="(?:https?:)?//', text.partition("<body>")[2])


def test_no_name_is_markup_in_it(outputs: Path) -> None:
    text = report(Watch([outputs]).snapshot(), View())
    assert HOSTILE not in text
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "<b>line</b>" not in text


def test_its_charts_are_the_charts_of_the_pages(outputs: Path) -> None:
    text = report(Watch([outputs]).snapshot(), View(where="algo=maml", smooth="0.9"))
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text)
    assert found is not None
    charts = json.loads(found[1])
    assert set(charts) == set(re.findall(r'<div class="chart" id="([^"]*)"', text))
    assert "smoothing: 0.9" in text
    assert "anil" not in text.partition("<main>")[2]


def test_no_chart_offers_to_send_itself_away(outputs: Path) -> None:
    text = report(Watch([outputs]).snapshot(), View())
    found = re.search(r'<script type="application/json" id="options">(.*?)</script>', text)
    assert found is not None
    options = json.loads(found[1])
    assert options["showSendToCloud"] is False and options["plotlyServerURL"] == ""
