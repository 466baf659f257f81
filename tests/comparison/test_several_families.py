"""Runs of several families beside one another: Delta m over seeds, ranks, negative transfer, what a weighting costs."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl.cli import main
from metamtl.comparison import formats
from metamtl.comparison.collect import collect
from metamtl.comparison.columns import filled, standard
from metamtl.comparison.compare import Comparison, compare
from metamtl.comparison.groups import grouped, protocol_facts
from metamtl.comparison.legend import legend
from metamtl.comparison.ranks import Rank
from metamtl.comparison.sections import Row
from metamtl.comparison.sorting import sorted_by
from metamtl.comparison.statistics import over_seeds, paired_test
from metamtl.comparison.where import group_named
from metamtl.errors import UsageError
from metamtl.runs.result import share, write_result
from tests.comparison.made import finished, several

EQUAL = [{"road": (0.5, 0.4), "lane": (0.6, 0.8)}, {"road": (0.44, 0.4), "lane": (0.7, 0.8)}]
OTHER = [{"road": (0.48, 0.4), "lane": (0.88, 0.8)}, {"road": (0.44, 0.4), "lane": (0.6, 0.8)}]
DELTAS = {"equal": [0.0, -0.0125], "pcgrad": [0.15, -0.075]}  # means of (together - alone) / alone


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for seed, (one, other) in enumerate(zip(EQUAL, OTHER, strict=True)):
        several(tmp_path, one, seed, step_ms=[2.0, 4.0][seed])
        several(tmp_path, other, seed, "pcgrad", step_ms=[6.0, 9.0][seed])
    return tmp_path


def compared(outputs: Path, metric: str | None = "delta_m", baseline: str | None = "weighting=equal") -> Comparison:
    groups = grouped(collect([outputs]))
    return compare(groups, metric, group_named(groups, baseline) if baseline else None)


def by_weighting(comparison: Comparison) -> dict[str, Row]:
    return {str(row.group.settings["weighting.name"]): row for row in comparison.rows}


def texts(comparison: Comparison, key: str) -> list[str]:
    (column,) = [column for column in standard(comparison) if column.key == key]
    return [column.text(row) for row in comparison.rows]


def test_delta_m_has_its_interval_and_its_test_over_seeds(outputs: Path) -> None:
    comparison = compared(outputs)
    rows = by_weighting(comparison)
    assert [row.group.settings["weighting.name"] for row in comparison.rows] == ["pcgrad", "equal"]  # more is better
    for name, values in DELTAS.items():
        assert rows[name].figures.mean == pytest.approx(np.mean(values))
        assert rows[name].figures.seed_interval == pytest.approx(over_seeds(values))
    test, expected = rows["pcgrad"].test, paired_test(*map(np.array, (DELTAS["pcgrad"], DELTAS["equal"])))
    assert test is not None
    assert test.pairs == 2
    assert (test.difference, test.p_t) == pytest.approx((0.04375, expected.p_t))
    assert texts(comparison, "delta_m") == ["3.75", "-0.63"]
    assert "p: the paired t test over 2 seeds; * is below 0.05." in legend(
        comparison, filled(comparison, standard(comparison))
    )
    assert json.loads(formats.json_text(comparison, []))["lower_is_better"] is False


def test_a_baseline_is_one_of_those_that_have_the_figure(
    outputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """References are weighted equally too, by the config of the run that asked for them."""
    monkeypatch.setenv("COLUMNS", "200")
    finished(outputs, "joint", changes={"weighting.name": "equal"})
    assert main(["compare", str(outputs), "--metric", "delta_m", "--baseline", "weighting=equal"]) == 0
    said = capsys.readouterr().out
    assert {"delta_m", "mean", "rank", "negative", "ms/step", "equal"} <= set(said.splitlines()[0].split())
    assert "Tested against joint equal, as asked." in said
    assert "references=auto: joint." in said


def test_families_are_compared_by_their_own_metric_unless_another_is_asked_for(outputs: Path) -> None:
    finished(outputs, "joint")  # a reference, which has a validation figure
    assert compared(outputs, None, None).metric == "road/accuracy"


def test_seeds_and_groups_without_delta_m_are_told(outputs: Path) -> None:
    several(outputs, EQUAL[0], seed=7, references=False)
    several(outputs, EQUAL[0], seed=0, weighting="mgda", references=False)
    comparison = compared(outputs)
    assert by_weighting(comparison)["equal"].figures.seeds == 2
    said = " ".join(comparison.notes)
    assert "joint equal: no delta_m of seeds 7, so the others alone count." in said
    assert "Without a test figure of delta_m, which runs of several families have with references=auto: joint mgda" in (
        said
    )


def test_without_any_references_delta_m_says_how_to_have_it(tmp_path: Path) -> None:
    several(tmp_path, EQUAL[0], references=False)
    with pytest.raises(UsageError, match="delta_m: no run has this figure; train with references=auto"):
        compared(tmp_path)


def test_one_seed_in_common_is_no_test(tmp_path: Path) -> None:
    several(tmp_path, EQUAL[0], 0)
    several(tmp_path, OTHER[0], 0, "pcgrad")
    comparison = compared(tmp_path)
    assert [row.test for row in comparison.rows] == [None, None]
    assert any("1 of its seeds in common with the baseline, and a test needs two" in note for note in comparison.notes)


def test_other_families_stand_apart(outputs: Path) -> None:
    several(outputs, {"road": (0.5, 0.4), "sign": (0.5, 0.4)}, weighting="mgda")
    comparison = compared(outputs)
    assert [len(section.rows) for section in comparison.sections] == [2, 1]
    assert "other families (road, sign against road, lane)" in " ".join(comparison.notes)


def test_families_that_delta_m_leaves_out_are_told(tmp_path: Path) -> None:
    several(tmp_path, {"road": (0.5, 0.4), "lane": (0.1, 0.0)}, 0)
    several(tmp_path, {"road": (0.1, 0.0), "lane": (0.1, 0.0)}, 1)
    comparison = compared(tmp_path, baseline=None)
    assert comparison.rows[0].figures.mean == pytest.approx(0.25)
    assert comparison.notes[-2:] == (
        "joint: no delta_m of seeds 1, so the others alone count.",
        "joint: delta_m leaves out lane (seeds 0, 1), road (seeds 1), whose figure alone is 0.",
    )


def test_ranks_are_over_families_and_seeds_and_ties_share(outputs: Path) -> None:
    rows = by_weighting(compared(outputs, "road/accuracy"))
    # seed 0: road equal, lane pcgrad; seed 1: road a tie, lane equal
    assert rows["equal"].rank == Rank((1 + 2 + 1.5 + 1) / 4, families=2, seeds=2)
    assert rows["pcgrad"].rank == Rank((2 + 1 + 1.5 + 2) / 4, families=2, seeds=2)
    several(outputs, {"road": (0.1, 0.4), "lane": (0.1, 0.8)}, seed=1, weighting="mgda")
    rows = by_weighting(compared(outputs, "road/accuracy"))
    ranks = {name: row.rank for name, row in rows.items()}
    assert ranks == {"equal": Rank(1.25, 2, 1), "pcgrad": Rank(1.75, 2, 1), "mgda": Rank(3.0, 2, 1)}
    assert texts(sorted_by(compared(outputs, "road/accuracy"), "-rank"), "rank") == ["3.00", "1.75", "1.25"]


def test_one_family_and_one_group_have_no_rank(tmp_path: Path) -> None:
    for algo in ("maml", "anil"):
        finished(tmp_path / "one family", algo)
    several(tmp_path / "one group", EQUAL[0])
    for outputs in tmp_path.iterdir():
        comparison = compared(outputs, None, None)
        assert texts(comparison, "rank") == ["-"] * len(comparison.rows)
    assert not {"rank", "negative_transfer", "step_ms", "step_ratio"} & {
        column.key
        for comparison in [compared(tmp_path / "one family", None, None)]
        for column in filled(comparison, standard(comparison))
    }


def test_the_rate_of_negative_transfer_is_over_families_and_seeds(outputs: Path) -> None:
    harms = {name: row.harm for name, row in by_weighting(compared(outputs)).items()}
    expected = share(np.array([False, True, False, True]))
    assert harms["equal"] is not None
    assert harms["pcgrad"] is not None
    assert (harms["equal"].rate, harms["equal"].pairs) == (0.5, 4)
    assert (harms["equal"].low, harms["equal"].high) == (expected["low"], expected["high"])
    assert (harms["pcgrad"].rate, harms["pcgrad"].pairs) == (0.25, 4)
    assert texts(compared(outputs), "negative_transfer") == ["25 [5, 70]", "50 [15, 85]"]


def test_a_weighting_costs_what_it_takes_longer_than_equal_weights(outputs: Path) -> None:
    comparison = compared(outputs)
    rows = by_weighting(comparison)
    assert {name: (row.cost.step_ms, row.step_ratio) for name, row in rows.items()} == {
        "equal": (3.0, 1.0),
        "pcgrad": (7.5, 2.5),
    }
    (line, _) = csv.DictReader(io.StringIO(formats.comma_separated(comparison, standard(comparison))))
    assert (line["step_ms"], line["step_ratio"], line["negative_transfer_pairs"]) == ("7.5", "2.5", "4")


@pytest.mark.parametrize(("other", "step_ms"), [("mgda", 2.0), ("equal", 0.0), ("equal", math.nan)])
def test_without_a_time_of_equal_weights_there_is_no_ratio(tmp_path: Path, other: str, step_ms: float) -> None:
    several(tmp_path, EQUAL[0], weighting=other, step_ms=step_ms)
    several(tmp_path, EQUAL[0], weighting="pcgrad")
    assert all(math.isnan(row.step_ratio) for row in compared(tmp_path, baseline=None).rows)


def test_families_have_a_validation_of_their_own(tmp_path: Path) -> None:
    for weighting, figures, road in (("equal", EQUAL[0], 0.7), ("pcgrad", OTHER[0], 0.6)):
        several(tmp_path, figures, weighting=weighting, references=False, validation={"road": road, "lane": 0.5})
    comparison = compared(tmp_path, "road/accuracy", baseline=None)
    assert texts(comparison, "validation") == ["70.00", "60.00"]
    assert comparison.notes[0] == "Tested against joint equal, the best on validation (road/accuracy 70.00%)."
    assert math.isnan(collect([tmp_path])[0].validation("road/loss"))  # which no line has


def test_figures_of_single_types_have_the_facts_of_their_family(tmp_path: Path) -> None:
    figure = {"mean": 0.5, "ci95": 0.1, "episodes": 10}
    slots: Any = {"metric": "f1", "test": {"f1": figure, "f1/album": figure}, "episodes_id": "of slots"}
    several(tmp_path, EQUAL[0])
    run = several(tmp_path, EQUAL[1], seed=1)
    write_result(run, {"families": {"slots": slots}})
    record = collect([tmp_path])[-1]
    assert record.facts("slots/f1/album")["episodes_id"] == record.facts("slots/f1")["episodes_id"] == "of slots"
    assert {key.rpartition(".")[0] for key in protocol_facts(record)} == {"result.slots"}
    with pytest.raises(UsageError, match="There are slots/f1, road/accuracy, lane/accuracy, delta_m, and 1 of single"):
        compare(grouped(reversed(collect([tmp_path]))), "nothing")
