"""Tables as data: those that are shipped, and what a wrong one is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metamtl.commands.reproduce import HELP
from metamtl.config.compose import compose
from metamtl.config.library import Library
from metamtl.errors import UsageError
from metamtl.reproduce.table import names, read_table


@pytest.mark.parametrize("name", names())
def test_shipped_tables_name_options_that_there_are(name: str) -> None:
    table, groups = read_table(name), Library.load().groups
    assert re.search(rf"^TABLE is .*\b{name}\b", HELP, re.MULTILINE)
    assert {row.experiment for row in table.rows if row.experiment} <= groups["experiment"].keys()
    assert {row.algo for row in table.rows if row.algo} <= groups["algo"].keys()
    methods = {re.sub(r"_\d+w\d+s$", "", row.name) for row in table.rows}
    assert {"chance", "centroid", "baseline", "baselinepp", "rfs", "protonet", "maml"} <= methods
    assert any(row.baseline for row in table.rows)
    assert all(row.source for row in table.rows if row.published is not None)  # no figure without where it is from
    assert all(row.published is None or 0 < row.published <= 100 for row in table.rows)
    assert all(row.deviations for row in table.rows if row.published is not None)  # none repeats its paper exactly


@pytest.mark.parametrize("name", names())
def test_deviations_are_those_of_the_recipes(name: str) -> None:
    """The numbers of updates and of tasks that a row's deviations give are those that it trains."""
    for row in read_table(name).rows:
        told = re.search(r"^(?:[^;]*; )*?([\d,]+) updates(?: of (one|\d+) [^;]*)?", row.deviations)
        if told is None:
            continue
        trainer = compose([row.option, *row.overrides])["trainer"]
        assert trainer["steps"] == int(told[1].replace(",", "")), row
        if told[2] is not None:
            count = 1 if told[2] == "one" else int(told[2])
            assert count in (trainer["meta_batch"], trainer["batch_size"]), row


def test_glyphs_has_a_row_for_every_method_that_classifies_from_few_examples() -> None:
    """By its default recipe: what `metamtl train algo=NAME data=glyphs` runs."""
    table = read_table("glyphs")
    others = {"joint", "lamaml", "mtml"}  # of labelled examples, of sequences, of several families
    assert [row.option for row in table.rows] == [f"algo={row.name}" for row in table.rows]
    assert {row.name for row in table.rows} == Library.load().groups["algo"].keys() - others
    assert table.overrides == ("data=glyphs",) and not any(row.overrides for row in table.rows)
    assert table.floor == "centroid"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is not valid YAML"),
        ("title: T\nminutes: 1\n", "must hold rows"),
        ("title: T\nrows: [{experiment: a/b}]\n", "minutes is missing"),
        (
            "title: T\nminutes: 1\nrows: [{experimnt: a/b}]\n",
            r"row 1: experimnt: no such key; did you mean experiment\?",
        ),
        ("title: T\nminutes: 1\nrows: [{experiment: a/b}, {experiment: c/b}]\n", "two rows named b"),
        ("title: T\nminutes: 1\nrows: [{algo: a}, {published: 3}]\n", "row 2: give it either"),
        ("title: T\nminutes: 1\nrows: [{algo: a, experiment: a/b}]\n", "row 1: give it either"),
        ("title: T\nminutes: 1\nfloor: chanc\nrows: [{algo: chance}]\n", r"no row chanc; did you mean chance\?"),
    ],
)
def test_a_wrong_table_is_told_so(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_table(str(tmp_path / "mine.yaml"))


def test_a_missing_table_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"omniglt: there is no such table; did you mean omniglot\?"):
        read_table("omniglt")
    assert {"omniglot", "cifar_fs"} <= set(names())
