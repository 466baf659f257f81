"""Filters as people type them."""

from __future__ import annotations

from pathlib import Path

import pytest

from metamtl.comparison.collect import collect
from metamtl.comparison.groups import grouped
from metamtl.comparison.where import group_named, resolve, where
from metamtl.errors import UsageError
from tests.comparison.made import finished, started


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    finished(tmp_path, "maml", 0, changes={"algo.inner_lr": 0.4, "task.ways": [5, 20], "algo.test_lr": None})
    finished(tmp_path, "maml", 1, changes={"algo.inner_lr": 0.01, "task.shots": 5, "eval.transductive": True})
    started(tmp_path, "protonet", 2, changes={"algo.scale": "a b"})
    return tmp_path


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("", [0, 1, 2]),
        ("algo=maml", [0, 1]),
        ("algo.name = maml , shots = 1", [0]),
        ("task.shots=5", [1]),
        ("shots!=5", [0, 2]),  # task.shots, and not trainer.task.shots
        ("trainer.task.shots=5", []),
        ("inner_lr=4e-1", [0]),
        ("inner_lr>0.01", [0]),
        ("inner_lr>=0.01,seed<1", [0]),
        ("inner_lr<=1.0", [0, 1]),
        ("inner_lr!=0.4", [1, 2]),  # one without the key is not 0.4
        ("task.ways=[5, 20]", [0]),
        ("transductive=true", [1]),
        ("transductive=1", []),
        ("test_lr=null", [0]),
        ("scale=a b", [2]),
        ("status=running", [2]),
        ("status!=completed", [2]),
    ],
)
def test_a_filter_keeps_those_it_fits(outputs: Path, text: str, seeds: list[int]) -> None:
    assert sorted(record.seed or 0 for record in where(collect([outputs]), text)) == seeds


def test_every_mistake_is_named_with_the_nearest_key(outputs: Path) -> None:
    with pytest.raises(UsageError) as caught:
        where(collect([outputs]), "algo.iner_lr=1,shot=1,shots>many,shots=1=2,nonsense,shots==1")
    assert list(caught.value.problems) == [
        "algo.iner_lr: no run has such a key; did you mean algo.inner_lr?",
        "shot: no run has such a key; did you mean task.shots?",
        "'shots>many': many is no number, so > cannot be asked.",
        "'nonsense': no condition; write key=value, or with !=, <, >, <= or >=.",
        "'shots==1': no condition; write key=value, or with !=, <, >, <= or >=.",
    ]


def test_an_ambiguous_last_part_asks_which() -> None:
    with pytest.raises(UsageError, match=r"split: which one of data\.split, eval\.split"):
        resolve("split", ["data.split", "eval.split", "x.y.split"])
    assert resolve("split", ["eval.split", "x.y.split"]) == "eval.split"


def test_a_group_is_found_by_its_name_or_by_what_only_it_fits(outputs: Path) -> None:
    groups = grouped(collect([outputs]))
    names = [group.name for group in groups]
    assert group_named(groups, names[1]) is groups[1]
    assert group_named(groups, "algo=protonet") is groups[2]
    assert group_named(groups, names[0]) is groups[0]
    with pytest.raises(UsageError, match=r"it fits maml .*, maml "):
        group_named(groups, "algo=maml")
    with pytest.raises(UsageError, match="it fits none of"):
        group_named(groups, "algo=maml,shots=7")
    with pytest.raises(UsageError, match="did you mean protonet"):
        group_named(groups, "protone")
