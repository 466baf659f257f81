"""Fewer labelled examples of classes that tasks are made of."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from metamtl.data.classes import ClassSource
from metamtl.data.fewer import with_labelled_classes
from metamtl.data.source import Split, TaskShape
from metamtl.errors import UsageError
from tests.data.made import EXAMPLES, SPLITS, made

NAMES: dict[Split, list[str]] = {
    "train": [f"t{i}" for i in range(30)],
    "val": [f"v{i}" for i in range(10)],
    "test": [f"x{i}" for i in range(10)],
}
SIZES = {name: 50 for names in NAMES.values() for name in names}


def test_classes_of_twenty_then_more_of_each() -> None:
    counts = []
    for labels in (100, 200, 600, 900, 1500):
        splits, each = with_labelled_classes(NAMES, SIZES, labels, None)
        counts.append((len(splits["train"]), each.get("train"), len(splits["val"]), each.get("val")))
        assert splits["test"] == NAMES["test"] and "test" not in each
    assert counts == [(5, 20, 5, 20), (10, 20, 10, 20), (30, 20, 10, None), (30, 30, 10, None), (30, None, 10, None)]


def test_more_labels_contain_fewer() -> None:
    kept = [set(with_labelled_classes(NAMES, SIZES, labels, None)[0]["train"]) for labels in (60, 200, 400, 600)]
    assert all(few < many for few, many in pairwise(kept))


@pytest.mark.parametrize("sizes", [SIZES, {**SIZES, "t3": 21, "t7": 30}])
def test_no_more_than_asked_for_and_as_near_as_can_be(sizes: dict[str, int]) -> None:
    total = sum(sizes[name] for name in NAMES["train"])
    before: dict[str, int] = {}
    for labels in (*range(100, 180, 7), 599, 600, 650, 977, total - 1, total):
        splits, each = with_labelled_classes(NAMES, sizes, labels, 100)
        kept = {name: min(sizes[name], each.get("train", total)) for name in splits["train"]}
        assert labels - len(NAMES["train"]) < sum(kept.values()) <= labels
        assert all(kept.get(name, 0) >= count for name, count in before.items()), "more labels contain fewer"
        before = kept
    assert "train" not in with_labelled_classes(NAMES, sizes, total, 100)[1]


def test_none_keeps_all_and_validation_is_its_own() -> None:
    assert with_labelled_classes(NAMES, SIZES, None, None) == (NAMES, {})
    splits, each = with_labelled_classes(NAMES, SIZES, 100, 40)
    assert (len(splits["train"]), len(splits["val"]), each) == (5, 2, {"train": 20, "val": 20})


@pytest.mark.parametrize(
    ("labels", "val_labels", "sentence"),
    [
        (1501, None, "data.labels=1501: there are 1500 training examples."),
        (None, 501, "data.val_labels=501: there are 500 validation examples."),
        (19, None, "data.labels=19: fewer than the 20 examples of one class."),
    ],
)
def test_budgets_that_cannot_be(labels: int | None, val_labels: int | None, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        with_labelled_classes(NAMES, SIZES, labels, val_labels)
    assert str(caught.value) == sentence


def test_a_source_has_no_more_than_the_first_of_each_class(tmp_path: Path) -> None:
    whole, cut = made(tmp_path), made(tmp_path, rotations=["train"], most={"train": 5})
    assert cut.facts["examples"] == {"train": 5 * 24, "val": EXAMPLES * 6, "test": EXAMPLES * 6}
    for label, name in enumerate(cut.class_names("train")):
        if "@" in name:
            continue
        items = cut.items("train")
        own = cut.gather(items[cut.labels(items) == label])
        at = whole.class_names("train").index(name)
        np.testing.assert_array_equal(own, whole.gather(whole.items("train")[at * EXAMPLES : at * EXAMPLES + 5]))
    assert "has 5 examples" in cut.problems("train", TaskShape(ways=5, shots=1, queries=5))[0]
    with pytest.raises(ValueError, match="no split"):
        cut.labels(whole.items("train")[5:6])


def test_what_is_kept_is_part_of_the_identity_of_its_split_alone(tmp_path: Path) -> None:
    def marks(source: ClassSource) -> list[str]:
        return [source.fingerprint, *(source.split_fingerprint(split) for split in SPLITS)]

    whole, cut = marks(made(tmp_path)), marks(made(tmp_path, most={"train": 5}))
    assert [one == other for one, other in zip(whole, cut, strict=True)] == [False, False, True, True]
