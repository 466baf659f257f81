"""Sources over packed classes: splits, rotations, what comes out, and what is refused."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metamtl.data.classes import ClassSource
from metamtl.data.sampler import eval_key
from metamtl.data.source import Split, TaskShape
from metamtl.data.store import ClassExamples, pack
from metamtl.errors import MetamtlError, UsageError
from tests.data.made import CLASSES, SPLITS, made, read

ALL: tuple[Split, ...] = ("train", "val", "test")


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> ClassSource:
    return made(tmp_path_factory.mktemp("cache"), rotations=["train", "test"])


def turned(image: NDArray[Any], turns: int) -> NDArray[Any]:
    """Anticlockwise, from the definition: the last column becomes the first row."""
    for _ in range(turns):
        image = image.swapaxes(-1, -2)[..., ::-1, :]
    return image


def drawings(source: ClassSource, split: Split) -> set[bytes]:
    """Every image of a split, in all four turns."""
    return {turned(image, k).tobytes() for image in source.gather(source.items(split)) for k in range(4)}


def test_each_class_has_its_own_rotation(rotated: ClassSource) -> None:
    """A known defect: a late-binding loop variable applies the last rotation to every class."""
    original = {one.name: one.x for one in read()}
    items = rotated.items("train")
    images, labels, names = rotated.gather(items), rotated.labels(items), rotated.class_names("train")
    assert len(names) == 4 * len(SPLITS["train"]) == rotated.class_count("train")
    for label, name in enumerate(names):
        base, _, degrees = name.partition("@")
        np.testing.assert_array_equal(
            images[labels == label], turned(original[base], int(degrees or 0) // 90), err_msg=name
        )
    assert sum(name.endswith("@270") for name in names) == len(SPLITS["train"])


def test_unrotated_splits_stay_as_they_are(rotated: ClassSource) -> None:
    original = {one.name: one.x for one in read()}
    expected = np.concatenate([original[name] for name in SPLITS["val"]])
    np.testing.assert_array_equal(rotated.gather(rotated.items("val")), expected)
    assert rotated.class_names("val") == tuple(SPLITS["val"])


def test_no_drawing_in_any_turn_crosses_splits(rotated: ClassSource) -> None:
    held = {split: drawings(rotated, split) for split in ALL}
    for one, other in combinations(ALL, 2):
        assert not held[one] & held[other]


def test_a_class_in_two_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetamtlError, match="'a/3' of made is in two splits"):
        made(tmp_path, splits={"train": CLASSES[:4], "test": CLASSES[3:6]})


def test_a_class_that_the_pack_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetamtlError, match="'z/9', which its data lacks"):
        made(tmp_path, splits={"train": ["a/0", "z/9"]})


def test_images_to_turn_must_be_square(tmp_path: Path) -> None:
    wide = pack(tmp_path, "wide", {}, "", lambda: [ClassExamples("a", "", np.zeros((2, 1, 3, 4), np.uint8))])
    with pytest.raises(UsageError, match="not square"):
        ClassSource(
            name="wide",
            packed=wide,
            splits={"train": ["a"]},
            rotations=["train"],
            preprocessing={},
            facts={},
        )


def test_gather_takes_any_leading_shape(rotated: ClassSource) -> None:
    items = rotated.items("train")[:24].reshape(2, 3, 4)
    found = rotated.gather(items)
    assert found.shape == (2, 3, 4, 1, 4, 4)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[1, 2, 3], rotated.gather(items[1, 2, 3].reshape(1))[0])


def test_episodes_are_the_gathered_index(rotated: ClassSource) -> None:
    shape, numbers = TaskShape((2, 4), 2, 3), np.arange(9)
    index = rotated.index("train", shape, numbers, 1)
    for arrays, one in zip(rotated.episodes("train", shape, numbers, 1), index, strict=True):
        assert arrays.ways == one.ways
        np.testing.assert_array_equal(arrays.episodes, one.episodes)
        np.testing.assert_array_equal(arrays.support_x, rotated.gather(one.support))
        np.testing.assert_array_equal(arrays.query_x, rotated.gather(one.query))
        np.testing.assert_array_equal(arrays.support_y, one.support_y)
        np.testing.assert_array_equal(arrays.query_y, one.query_y)
        assert arrays.support_x.shape == (len(one.episodes), one.ways * 2, 1, 4, 4)
        assert arrays.support_y.dtype == arrays.query_y.dtype == np.int64


def test_items_are_the_items_of_each_class_once(rotated: ClassSource) -> None:
    items = rotated.items("test")
    assert len(np.unique(items)) == len(items) == 6 * 12 * 4
    assert (np.bincount(rotated.labels(items)) == 12).all()
    assert rotated.items("test") is items and not items.flags.writeable  # made once, and nobody can spoil it


def test_labels_of_an_item_in_no_split(tmp_path: Path) -> None:
    source = made(tmp_path, splits={"train": CLASSES[1:4]})
    with pytest.raises(ValueError, match="belongs to no split"):
        source.labels(np.array([0]))


def test_minibatches_pass_through_every_item_each_epoch(rotated: ClassSource) -> None:
    items = rotated.items("test")
    size, steps = 48, len(items) // 48  # 288 items: six minibatches an epoch
    epochs = [[rotated.minibatch("test", size, e * steps + s, 7) for s in range(steps)] for e in range(2)]
    orders = [np.concatenate([chosen for chosen, _ in epoch]) for epoch in epochs]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.sort(items))
    assert (orders[0] == orders[1]).mean() < 0.05
    for chosen, labels in epochs[0]:
        np.testing.assert_array_equal(labels, rotated.labels(chosen))
        assert len(np.unique(labels)) > 12  # mixed, not class after class


def test_a_minibatch_is_a_function_of_key_and_step(rotated: ClassSource, tmp_path: Path) -> None:
    steps = [5, 0, 3, 17, 4, 5]  # 100 does not divide 288: some cross from one epoch to the next
    fresh = [made(tmp_path, rotations=["train", "test"]).minibatch("test", 100, step, 7)[0] for step in steps]
    for step, expected in zip(steps, fresh, strict=True):
        np.testing.assert_array_equal(rotated.minibatch("test", 100, step, 7)[0], expected)
    assert (rotated.minibatch("test", 100, 0, 8)[0] != fresh[1]).any()
    whole = np.concatenate([rotated.minibatch("test", 100, step, 7)[0] for step in range(3)])[:288]
    assert len(np.unique(whole)) == 288
    assert rotated.minibatch("test", 700, 0, 7)[0].shape == (700,)  # more than two epochs in one


def test_fingerprint_covers_all_that_changes_an_episode(tmp_path: Path) -> None:
    sources = [
        made(tmp_path),
        made(tmp_path, rotations=["train"]),
        made(tmp_path, rotations=["train", "test"]),
        made(tmp_path, within_group=True),
        made(tmp_path, splits={**SPLITS, "val": SPLITS["test"], "test": SPLITS["val"]}),
        made(tmp_path, fewer={"a/0": 11}),
    ]
    assert len({one.fingerprint for one in sources}) == len(sources)
    assert made(tmp_path).fingerprint == sources[0].fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"rotations": ["train"]},
        {"rotations": ["val", "train"]},
        {"fewer": {"a/0": 11}},
        {"splits": {**SPLITS, "train": SPLITS["train"][3:]}},
        {"splits": {"test": SPLITS["test"]}},
    ],
)
def test_what_concerns_other_splits_leaves_the_test_episodes(tmp_path: Path, changes: dict[str, Any]) -> None:
    plain, other = made(tmp_path), made(tmp_path, **changes)
    assert other.fingerprint != plain.fingerprint
    assert other.split_fingerprint("test") == plain.split_fingerprint("test")
    shape, numbers = TaskShape(4, 1, 3), np.arange(20)
    [ours], [theirs] = (one.episodes("test", shape, numbers, eval_key(0, one, "test", shape)) for one in (plain, other))
    np.testing.assert_array_equal(ours.support_x, theirs.support_x)
    np.testing.assert_array_equal(ours.query_x, theirs.query_x)


def test_the_fingerprint_of_a_split_covers_all_that_changes_its_episodes(tmp_path: Path) -> None:
    sources = [
        made(tmp_path),
        made(tmp_path, rotations=["test"]),
        made(tmp_path, within_group=True),
        made(tmp_path, splits={**SPLITS, "test": SPLITS["test"][1:]}),
        made(tmp_path, splits={**SPLITS, "test": SPLITS["test"][::-1]}),
        made(tmp_path, fewer={"a/10": 11}),
    ]
    found = [one.split_fingerprint("test") for one in sources]
    assert len(set(found)) == len(found)
    assert found[0] != sources[0].split_fingerprint("val")
    with pytest.raises(UsageError, match="no val split"):
        made(tmp_path, splits={"test": SPLITS["test"]}).split_fingerprint("val")


def test_what_a_source_says_of_itself(rotated: ClassSource) -> None:
    assert rotated.kind == "classification"
    assert rotated.input_shape == (1, 4, 4)
    assert rotated.output_size is None
    assert rotated.facts["classes"] == {"train": 24, "val": 6, "test": 6}
    assert rotated.facts["licence"] == "none"


@pytest.mark.parametrize(
    ("shape", "sentences"),
    [
        (TaskShape(6, 1, 11), []),
        (TaskShape(7, 1, 5), [["val split of made has 6 classes", "7 ways", "task.ways=6"]]),
        (TaskShape((2, 9), 1, 5), [["9 ways", "task.ways=6"]]),
        (TaskShape(5, 1, 12), [["'a/8'", "12 examples", "5 other", "1 shots + 12 queries", "task.queries=11"]]),
        (TaskShape(5, (1, 12), 1), [["'a/8'", "task.shots=11 with task.queries=1"]]),
        (TaskShape(7, 20, 1), [["task.ways=6"], ["20 shots"]]),
    ],
)
def test_impossible_tasks_are_told(rotated: ClassSource, shape: TaskShape, sentences: list[list[str]]) -> None:
    found = rotated.problems("val", shape)
    assert len(found) == len(sentences)
    for sentence, parts in zip(found, sentences, strict=True):
        assert all(part in sentence for part in parts), sentence


def test_the_class_with_too_few_examples_is_named(tmp_path: Path) -> None:
    source = made(tmp_path, fewer={"b/2": 3, "c/1": 1})
    [sentence] = source.problems("train", TaskShape(5, 1, 4))
    assert "'c/1'" in sentence and "1 examples (and 1 other" in sentence and "leave it out" in sentence
    assert source.problems("test", TaskShape(5, 1, 4)) == []


def test_no_group_large_enough(tmp_path: Path) -> None:
    source = made(tmp_path, splits={"train": CLASSES[:20]}, within_group=True)
    assert source.problems("train", TaskShape(12, 1, 1)) == []
    [sentence] = source.problems("train", TaskShape(13, 1, 1))
    assert "the largest, a, allows task.ways=12" in sentence


def test_a_split_that_is_absent_or_empty(tmp_path: Path) -> None:
    source = made(tmp_path, splits={"train": CLASSES[:20], "val": []})
    assert source.problems("val", TaskShape(2, 1, 1)) == ["made has no classes in its val split."]
    assert source.problems("test", TaskShape(2, 1, 1)) == ["made has no classes in its test split."]
    with pytest.raises(UsageError, match="no test split"):
        source.items("test")
