"""The page and the report in headless Chromium, clicked through; skipped where there is no Chromium."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("dash")
pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page, sync_playwright

from metamtl.dashboard.report import report
from metamtl.dashboard.server import server_of
from metamtl.dashboard.view import PAGES, View
from metamtl.dashboard.watch import Watch
from metamtl.runs.metrics import MetricStream
from tests.dashboard.made import HOSTILE, every_kind, hostile, training

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")
# none of these is about pages: as root without a sandbox, and with no talk to the outside
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
PATIENCE = 60_000  # milliseconds: the machine may be busy
DRAWN = ".js-plotly-plot .main-svg"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    every_kind(folder)
    hostile(folder)
    return folder


@pytest.fixture(scope="module")
def address(outputs: Path) -> Iterator[str]:
    training(outputs)
    server = server_of(Watch([outputs]), "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as made:
        yield made.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab in the dark; errors of scripts, refused content and dialogs fail the test."""
    context = browser.new_context(color_scheme="dark")
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    opened.on("dialog", lambda dialog: wrong.append(dialog.message))
    yield opened
    context.close()
    assert wrong == []


def shown(page: Page) -> str:
    page.wait_for_selector("main .wide, main figure, main h1")
    return page.inner_text("main")


def test_every_page_is_reached_by_clicking(page: Page, address: str) -> None:
    page.goto(address)
    assert "Groups" in shown(page)
    for name, title in list(PAGES.items())[1:]:
        page.click(f"nav >> text={title}")
        page.wait_for_url(f"{address}/{name}")
        page.wait_for_selector(f"nav [aria-current=page] >> text={title}")
        page.wait_for_selector(DRAWN)
    page.go_back()
    page.wait_for_url(f"{address}/related")


@pytest.mark.slow
def test_every_run_has_its_page_a_hostile_one_too(page: Page, address: str, outputs: Path) -> None:
    names = {record.name: record.state for record in Watch([outputs]).snapshot().records}
    assert {"completed", "failed", "interrupted", "lost", "damaged", "running"} == set(names.values())
    assert HOSTILE in names
    page.goto(f"{address}/runs?rows=runs")
    page.wait_for_selector("td a")
    seen = set()
    for place in range(len(names)):
        page.locator("td:first-child a").nth(place).click()
        page.wait_for_selector("main h1")
        seen.add(page.inner_text("main h1"))
        page.go_back()
        page.wait_for_selector("caption >> text=Runs")
    assert seen == set(names)


def test_choices_are_in_the_address_and_a_link_shows_the_same(page: Page, address: str) -> None:
    page.goto(f"{address}/curves?where=algo%3Dmaml")
    shown(page)
    page.click(".choices >> text=0.9")
    page.wait_for_selector("main .current >> text=0.9")  # the links of the page before do not know it
    page.click(".choices >> text=train/loss")
    page.wait_for_selector("caption >> text=train/loss")
    before, link = page.inner_text("main table"), page.url
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_selector("caption >> text=train/loss")
    assert page.inner_text("main table") == before
    assert {"0.9", "train/loss"} <= {one.inner_text() for one in page.query_selector_all("main .current")}


def test_the_filter_works_by_keyboard_alone(page: Page, address: str) -> None:
    page.goto(f"{address}/runs?rows=runs")
    shown(page)
    page.focus("#where")
    page.keyboard.type("algo=anil")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs?*where=algo%3Danil*")
    assert "maml" not in shown(page)
    assert "rows=runs" in page.url
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the runs"


def test_a_table_is_sorted_by_its_head(page: Page, address: str) -> None:
    page.goto(f"{address}/runs?where=algo%3Dmaml%2Cseed%3C9&rows=runs")
    shown(page)
    page.click("th >> text=seed")
    page.wait_for_selector("th >> text=seed ▼")
    assert [cell.inner_text() for cell in page.query_selector_all("td:nth-child(4)")] == ["1", "0"]


def test_it_is_live(page: Page, address: str, outputs: Path) -> None:
    page.goto(f"{address}/runs?where=algo%3Dmatching&rows=runs")
    assert "40 of 100" in shown(page)
    (run,) = [one for one in Watch([outputs]).snapshot().records if one.settings.get("algo.name") == "matching"]
    with MetricStream(run.path / "metrics.jsonl") as stream:
        stream.write(70, "train", {"train/loss": 0.1})
    page.wait_for_selector("td >> text=70 of 100")


@pytest.mark.slow
def test_text_of_charts_is_light_in_the_dark(page: Page, address: str) -> None:
    page.goto(f"{address}/curves?where=algo%3Dmaml")
    page.wait_for_selector(".xtick text")
    light = "[...document.querySelectorAll('.xtick text')].map(text => getComputedStyle(text).fill)"
    assert set(page.evaluate(light)) == {"rgb(232, 234, 237)"}
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"


@pytest.mark.slow
def test_a_report_draws_its_charts_without_a_server(page: Page, outputs: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text(report(Watch([outputs]).snapshot(), View()), encoding="utf-8")
    page.goto(target.as_uri())
    page.wait_for_selector(f"#curves {DRAWN}")
    page.click("nav >> text=One run")
    page.click("#run details >> nth=0")
    page.wait_for_selector("#run details[open] .wide")
    assert HOSTILE in page.inner_text("#run")
