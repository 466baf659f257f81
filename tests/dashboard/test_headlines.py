"""What is looked at comes first: of dozens of figures those that select, single types when they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metamtl.comparison.names import distinct_parts
from metamtl.dashboard.blocks import Block, Chart, Choices, Folded, Table
from metamtl.dashboard.pages.headlines import of_records, of_streams
from metamtl.dashboard.pages.index import blocks_of
from metamtl.dashboard.view import View
from metamtl.dashboard.watch import Snapshot, Watch
from metamtl.runs.metrics import MetricStream
from tests.comparison.made import finished

TYPES = [f"type{number}" for number in range(30)]
KINDS = ("f1", "precision", "recall")


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    """A run of two families, of which one tags dozens of types."""
    figure = {"mean": 0.25, "ci95": 0.01, "episodes": 40}
    slots = {"loss": figure, "accuracy": figure, **dict.fromkeys(KINDS, figure)}
    slots |= {f"{kind}/{one}": figure for one in TYPES for kind in KINDS}
    families: dict[str, Any] = {
        "intent": {"metric": "accuracy", "test": {"loss": figure, "accuracy": figure}, "episodes_id": "a"},
        "slots": {"metric": "f1", "test": slots, "episodes_id": "a"},
    }
    run = finished(tmp_path, "joint", facts={"test": {}, "families": families, "best": {"step": 110, "val/score": 0.1}})
    with MetricStream(run.metrics_file) as stream:
        stream.write(110, "train", {"train/slots/loss": 1.0, "train/slots/f1": 0.1, "train/weight/slots": 0.5})
        judged = {f"val/{name}{end}": 0.3 for name in ("intent/accuracy", "slots/f1") for end in ("", "_ci95")}
        stream.write(110, "val", {"val/slots/loss": 1.0, **judged, "val/score": 0.1})
    return Watch([tmp_path]).snapshot()


def open_ones(blocks: list[Block]) -> list[Block]:
    return [block for block in blocks if not isinstance(block, Folded)]


def figures_open(blocks: list[Block]) -> list[str]:
    """The figures that one can choose without unfolding anything."""
    options = [one.options for one in open_ones(blocks) if isinstance(one, Choices) and one.label == "figure"]
    return [text for line in options for text, _, _ in line]


def test_what_selects_comes_first_and_types_last(snapshot: Snapshot) -> None:
    ordered = of_records(snapshot.records)
    assert ordered.first == ["intent/accuracy", "slots/f1"]
    assert "slots/precision" in ordered.others and not any("type" in name for name in ordered.others)
    assert len(ordered.single) == len(TYPES) * len(KINDS)


def test_a_stream_says_by_its_intervals_what_selects(snapshot: Snapshot) -> None:
    ordered = of_streams([snapshot.records[0].curves()])
    assert ordered.first == ["val/score", "val/intent/accuracy", "val/slots/f1", "train/slots/f1", "train/loss"]
    assert "val/slots/loss" in ordered.others and "train/weight/slots" in ordered.others
    assert not any(name.endswith("_ci95") for name in ordered.every)


@pytest.mark.parametrize("page", ["runs", "compare", "search"])
def test_types_are_folded_away_where_figures_are_chosen(snapshot: Snapshot, page: str) -> None:
    blocks = blocks_of(snapshot, View(page))
    assert figures_open(blocks) == ["intent/accuracy", "slots/f1"]
    (folded,) = [one for one in blocks if isinstance(one, Folded) and "more figures" in one.title]
    labels = {one.label: [text for text, _, _ in one.options] for one in folded.blocks if isinstance(one, Choices)}
    assert labels["slots/f1 of"] == TYPES
    chosen = blocks_of(snapshot, View(page, metric="slots/f1/type7"))
    assert "slots/f1/type7" in figures_open(chosen)  # what is looked at is always told


def test_a_map_of_families_has_no_column_a_type(snapshot: Snapshot) -> None:
    blocks = blocks_of(snapshot, View("related"))
    charts = {one.title: one for one in open_ones(blocks) if isinstance(one, Chart)}
    assert {title: list(chart.data[0]["x"]) for title, chart in charts.items()} == {
        "accuracy of each family": ["intent"],
        "f1 of each family": ["slots"],
    }
    (folded,) = [one for one in blocks if isinstance(one, Folded) and "more maps" in one.title]
    types = [one for one in folded.blocks if isinstance(one, Chart) and one.title == "f1 of each type of slots"]
    assert list(types[0].data[0]["y"]) == TYPES


def test_a_run_has_its_types_in_a_table_of_their_own(snapshot: Snapshot) -> None:
    blocks = blocks_of(snapshot, View("run"))
    (table,) = [one for one in open_ones(blocks) if isinstance(one, Table) and one.caption == "Test"]
    assert [row[0] for row in table.rows[:2]] == ["intent/accuracy", "slots/f1"]
    assert [row[1:4] for row in table.rows[:1]] == [["25.00% ± 1.00", "40", "30.00%"]]
    assert not any("type" in str(row[0]) for row in table.rows)
    (folded,) = [one for one in blocks if isinstance(one, Folded) and one.title == "slots: 30 types one by one"]
    (types,) = folded.blocks
    assert isinstance(types, Table) and list(types.head) == ["type", *KINDS]
    titles = [one.title for one in open_ones(blocks) if isinstance(one, Chart)]
    assert titles == ["score", "intent/accuracy", "slots/f1", "loss"]


def test_charts_call_groups_by_what_differs() -> None:
    names = ["joint finetune labels=20", "joint finetune labels=50"]
    assert distinct_parts(names) == ["labels=20", "labels=50"]
    assert distinct_parts(["joint", "joint labels=50"]) == ["joint", "labels=50"]
    assert distinct_parts(["joint equal"]) == ["joint equal"]
    assert distinct_parts(["a b", "b a"]) == ["a", "b"]


def test_a_report_has_no_choice_of_figures_that_leads_nowhere(snapshot: Snapshot) -> None:
    pytest.importorskip("dash")
    from metamtl.dashboard.report import report

    text = report(snapshot, View())
    assert "more figures</summary>" not in text and "more maps: other figures, and single types</summary>" in text
