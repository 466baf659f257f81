"""The blocks of every page, of runs of every kind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metamtl.dashboard.blocks import Block, Chart, Choices, Folded, Image, Link, Pre, Progress, Table, Text
from metamtl.dashboard.pages.index import blocks_of
from metamtl.dashboard.view import PAGES, View
from metamtl.dashboard.watch import Snapshot, Watch, group_identity, identity
from tests.comparison.made import finished
from tests.dashboard.made import every_kind, hostile, training


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    outputs = tmp_path_factory.mktemp("outputs")
    every_kind(outputs)
    training(outputs)
    return Watch([outputs]).snapshot()


def flat(blocks: Iterable[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, Folded):
            yield from flat(block.blocks)


def table(blocks: Iterable[Block], caption: str) -> Table:
    return next(block for block in flat(blocks) if isinstance(block, Table) and block.caption.startswith(caption))


def words(block: Table) -> list[list[str]]:
    return [[cell if isinstance(cell, str) else cell.text for cell in row] for row in block.rows]


def links(blocks: Iterable[Block]) -> Iterator[View]:
    for block in flat(blocks):
        if isinstance(block, Choices):
            yield from (view for _, view, _ in block.options)
        elif isinstance(block, Table):
            cells = [*block.head, *(cell for row in block.rows for cell in row)]
            yield from (cell.view for cell in cells if isinstance(cell, Link))


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_every_page_leads_somewhere(snapshot: Snapshot, page: str) -> None:
    found = set(links(blocks_of(snapshot, View(page))))
    assert found or page in ("run", "related")
    for view in found:
        blocks = blocks_of(snapshot, View.of(view.link()))
        assert not any(isinstance(block, Text) and block.kind == "warning" for block in blocks) or view.page == "run"
        for chart in (block for block in flat(blocks) if isinstance(block, Chart)):
            json.dumps([chart.data, chart.layout], allow_nan=False)


def test_groups_show_seeds_states_and_figures(snapshot: Snapshot) -> None:
    rows = {row[0]: row for row in words(table(blocks_of(snapshot, View()), "Groups"))}
    maml = next(row for name, row in rows.items() if name.startswith("maml"))
    assert "✓ completed 2" in maml
    assert "2" in maml
    states = " ".join(" ".join(row) for row in rows.values())
    for state in ("failed", "interrupted", "lost", "damaged", "running"):
        assert state in states


def test_runs_show_how_far_they_are_and_are_sorted(snapshot: Snapshot) -> None:
    found = table(blocks_of(snapshot, View(rows="runs", sort="-figure")), "Runs")
    head = [cell.text if isinstance(cell, Link) else cell for cell in found.head]
    place = head.index("accuracy % ▼")
    figures = [float(str(row[place]).split()[0]) for row in found.rows if row[place]]
    assert len(figures) == 4
    assert figures == sorted(figures, reverse=True)
    assert Progress(40, 100) in [cell for row in found.rows for cell in row]


def test_long_tables_come_in_parts(tmp_path: Path) -> None:
    for seed in range(3):
        finished(tmp_path, "maml", seed)
    parts = Watch([tmp_path]).snapshot()
    from metamtl.dashboard.pages import runs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_ROWS", 2)
        assert len(table(blocks_of(parts, View(rows="runs")), "Runs").rows) == 2
        assert len(table(blocks_of(parts, View(rows="runs", start=2)), "Runs").rows) == 1
        assert len(table(blocks_of(parts, View(rows="runs", start=99)), "Runs").rows) == 2


def test_curves_have_a_line_a_group_and_a_band_over_seeds(snapshot: Snapshot) -> None:
    blocks = blocks_of(snapshot, View("curves", metric="val/accuracy", where="algo=maml"))
    (chart,) = [block for block in blocks if isinstance(block, Chart)]
    low, high, mean = chart.data
    assert high["fill"] == "tonexty"
    assert low["y"] <= mean["y"] <= high["y"]
    assert mean["x"] == [100, 110, 120, 130, 140, 150]
    assert words(table(blocks, "val/accuracy at the end"))[0][1:4] == ["2", "150", "65.00"]
    over_time = blocks_of(snapshot, View("curves", metric="val/accuracy", where="algo=maml", x="time", band="none"))
    (chart,) = [block for block in over_time if isinstance(block, Chart)]
    assert chart.data[0]["x"][-1] == 15.0


def test_chosen_groups_alone_are_drawn(snapshot: Snapshot) -> None:
    group = next(group for group in snapshot.shown("").groups if group.name.startswith("anil"))
    view = View("curves", metric="train/loss", groups=(group_identity(group),), log="y")
    (chart,) = [block for block in blocks_of(snapshot, view) if isinstance(block, Chart)]
    assert [trace["name"] for trace in chart.data if "name" in trace] == [f"{group.name} (2 seeds)"]
    assert chart.layout["yaxis"]["type"] == "log"


def test_search_sets_a_key_against_a_figure(snapshot: Snapshot) -> None:
    charts = [block for block in blocks_of(snapshot, View("search", key="algo.inner_lr", where="inner_lr>0"))]
    scatter, *_ = [block for block in charts if isinstance(block, Chart)]
    assert sorted(scatter.data[0]["x"]) == [0.01, 0.01, 0.1, 0.1]


def test_compare_tests_against_the_chosen_baseline(snapshot: Snapshot) -> None:
    group = next(group for group in snapshot.shown("").groups if group.name.startswith("anil"))
    blocks = blocks_of(snapshot, View("compare", baseline=group_identity(group)))
    first, *_ = words(table(blocks, "Test accuracy"))
    assert first[1].startswith("maml")
    assert any("*" in cell for cell in first)
    assert any(isinstance(block, Text) and block.text == f"Tested against {group.name}, as asked." for block in blocks)
    assert [block.title for block in blocks if isinstance(block, Chart)] == [
        f"Differences from {group.name}",
        "Single episodes, accuracy",
    ]
    assert ["algo.name", "maml", "anil"] in words(table(blocks, "Settings that differ"))
    assert any("Out of memory." in row[2] for row in words(table(blocks, "Without figures")))


def test_one_run_shows_what_is_in_its_folder(snapshot: Snapshot) -> None:
    record = next(record for record in snapshot.records if record.settings.get("algo.name") == "maml")
    blocks = list(flat(blocks_of(snapshot, View("run", run=identity(record.path)))))
    assert ["best.pt", "0.00 MB", "100", "0123456789ab"] in words(table(blocks, "Checkpoints"))
    (log,) = [block for block in blocks if isinstance(block, Pre)]
    assert log.text == "10:00 first line\n10:01 second <b>line</b>"
    assert [block.title for block in blocks if isinstance(block, Image)] == ["confusion"]
    assert ["algo.name", "maml"] in words(table(blocks, "Config"))


def test_a_run_that_nobody_collected_is_not_there(snapshot: Snapshot, tmp_path: Path) -> None:
    stranger = finished(tmp_path, "maml")
    for asked in (identity(stranger.path), str(stranger.path), "../../etc/passwd"):
        (block,) = blocks_of(snapshot, View("run", run=asked))
        assert isinstance(block, Text) and block.kind == "warning"


def test_families_are_set_beside_one_another(snapshot: Snapshot) -> None:
    charts = {block.title: block for block in blocks_of(snapshot, View("related")) if isinstance(block, Chart)}
    affinity = next(chart for title, chart in charts.items() if title.startswith("affinity of joint"))
    assert affinity.data[0]["z"] == [[0.1, -0.02], [-0.02, 0.1]]
    live = next(chart for title, chart in charts.items() if title.startswith("affinity of matching"))
    assert live.data[0]["z"] == [[0.5]]
    assert charts["accuracy of each family"].data[0]["x"] == ["road", "light"]


def test_tests_on_other_data_make_a_transfer_matrix(tmp_path: Path) -> None:
    run = finished(tmp_path, "maml")
    other = finished(run.evaluations, "maml", facts={"data": {"name": "omniglot"}}, changes={"data.name": "omniglot"})
    other.update_meta(kind="evaluation")
    blocks = blocks_of(Watch([tmp_path, run.evaluations]).snapshot(), View("related"))
    (chart,) = [block for block in blocks if isinstance(block, Chart) and block.title.startswith("Transfer")]
    assert chart.data[0]["y"] == ["glyphs"]
    assert sorted(chart.data[0]["x"]) == ["glyphs", "omniglot"]


def test_names_are_text_to_plotly_too(tmp_path: Path) -> None:
    path = hostile(tmp_path)
    hostile_only = Watch([tmp_path]).snapshot()
    for page in PAGES:
        for chart in (block for block in flat(blocks_of(hostile_only, View(page))) if isinstance(block, Chart)):
            assert "<img" not in json.dumps([chart.data, chart.layout]).replace(chart.title, "")
    assert table(blocks_of(hostile_only, View(rows="runs")), "Runs").rows[0][0] == Link(
        path.name, View("run", run=identity(path))
    )


@pytest.mark.parametrize("page", PAGES)
def test_without_runs_every_page_says_so(tmp_path: Path, page: str) -> None:
    blocks = blocks_of(Watch([tmp_path]).snapshot(), View(page))
    assert len([block for block in blocks if isinstance(block, Text)]) == 1


def test_an_unknown_page_and_a_wrong_filter_are_told(snapshot: Snapshot) -> None:
    (block,) = blocks_of(snapshot, View("../etc"))
    assert isinstance(block, Text) and block.text.startswith("There is no such page")
    first, *rest = blocks_of(snapshot, View(where="shot=1"))
    assert isinstance(first, Text) and "did you mean task.shots?" in first.text
    assert rest


def test_a_test_on_the_data_it_learned_is_no_transfer(tmp_path: Path) -> None:
    finished(tmp_path, facts={"data": {"name": "glyphs-latin"}})  # what a source is called beside its option
    blocks = blocks_of(Watch([tmp_path]).snapshot(), View("related"))
    assert not any(isinstance(block, Chart) for block in blocks)


def test_groups_that_stand_alone_share_a_table_without_empty_columns(tmp_path: Path) -> None:
    for algo in ("maml", "anil"):
        finished(tmp_path, algo)
    for data in ("omniglot", "sines"):
        finished(tmp_path, facts={"data": {"name": data}, "episodes_id": data}, changes={"data.name": data})
    blocks = blocks_of(Watch([tmp_path]).snapshot(), View("compare"))
    tables = [block for block in blocks if isinstance(block, Table) and block.caption.startswith("Test accuracy")]
    assert [(one.caption, len(one.rows)) for one in tables] == [
        ("Test accuracy, against maml glyphs", 2),
        ("Test accuracy of groups that met episodes of their own", 2),
    ]
    assert "difference" in tables[0].head and not {"difference", "p", "± seeds"} & set(tables[1].head)


def test_it_is_said_that_other_groups_have_other_figures(tmp_path: Path) -> None:
    finished(tmp_path)
    assert not any("other figures" in sentence for sentence in _sentences(tmp_path))
    finished(tmp_path, "joint", facts={"test": {"mse": {"mean": 1.0, "ci95": 0.1, "episodes": 40}}})
    assert any("1 of the 2 finished groups have other figures" in sentence for sentence in _sentences(tmp_path))


def _sentences(outputs: Path) -> list[str]:
    return [one.text for one in blocks_of(Watch([outputs]).snapshot(), View()) if isinstance(one, Text)]


def test_a_run_tells_its_stages_and_what_it_was_set_against(tmp_path: Path) -> None:
    tested = {"mean": 0.5, "ci95": 0.02, "episodes": 40}
    stages = {"stages": ["a", "b"], "acc": {"mean": 0.5, "ci95": 0.01}, "bwt": -0.25, "fwt": None, "forgetting": 0.25}
    compared = {"metric": "accuracy", "transfer": tested, "scratch": tested, "source_only": None, "improvement": tested}
    alone = {"metric": "iou", "together": tested, "alone": tested, "difference": tested}
    cost = {"parameters": {"together": 1000, "alone": {"box": 700, "map": 600}, "alone_sum": 1300}}
    cost["latency_ms"] = {"together": {}, "alone": {}, "together_sum": 1.5, "alone_sum": 1.25}
    lost = {"box": {"support_labels": {"drop": {"together": 0.1, "alone": 0.2}}}}
    several = {"families": {"box": alone}, "delta_m": {"mean": -0.1, "ci95": 0.05}, "cost": cost, "robustness": lost}
    found: dict[str, list[list[str]]] = {}
    told: list[dict[str, Any]] = [{"sequence": stages}, {"references": compared}, {"references": several}]
    for seed, facts in enumerate([*told, {"sequence": 3}]):
        run = finished(tmp_path, seed=seed, facts={"metric": "accuracy", **facts})
        blocks = blocks_of(Watch([tmp_path]).snapshot(), View("run", run=identity(run.path)))
        found |= {block.caption: words(block) for block in blocks if isinstance(block, Table)}
    assert found["After 2 stages, accuracy"] == [["ACC", "50.00% ± 1.00"], ["BWT", "-25.00%"], ["forgetting", "25.00%"]]
    assert found["With and without the transfer, test accuracy"][-1] == ["gain of the transfer", "+50.00% ± 2.00"]
    together = ["box/iou", "50.00% ± 2.00", "50.00% ± 2.00", "+50.00% ± 2.00"]
    assert found["Each family against itself alone, Delta m -10.00% ± 5.00"] == [together]
    spent = [["parameters", "1,000", "1,300"], ["milliseconds for these", "1.50", "1.25"]]
    assert found["What families cost together and alone"] == spent
    gone = found["Lost under disturbances, the mean over severities"]
    assert gone == [["box/iou", "support labels", "10.00%", "20.00%"]]


def test_charts_number_groups_as_the_table_does(tmp_path: Path) -> None:
    for algo in ("maml", "anil", "fomaml"):
        for data in ("glyphs", "omniglot"):
            facts = {"data": {"name": data}, "episodes_id": data}
            finished(tmp_path, algo, facts=facts, changes={"data.name": data})
    blocks = blocks_of(Watch([tmp_path]).snapshot(), View("compare"))
    numbers = [
        trace["name"].split()[0]
        for one in blocks
        if isinstance(one, Chart) and "episodes" in one.title
        for trace in one.data
    ]
    assert numbers == ["1", "2", "3", "4", "5", "6"]
