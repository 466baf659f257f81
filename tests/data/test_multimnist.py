"""Overlaid pictures: where each lies, that no picture is in two splits, and labels that nothing tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl.data.dense import SeveralClasses
from metamtl.data.digit_domain import divided
from metamtl.data.digit_files import read_pictures
from metamtl.data.labelled import family_of
from metamtl.data.multimnist import MultiMNIST, overlaid, partners
from metamtl.data.source import DataPaths, Split
from tests.data import digit_made
from tests.data.image_files import real

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def opened(paths: DataPaths, **changes: Any) -> MultiMNIST:
    options = {"pictures": "mnist", "target": "left", "full": False, "size": 28, "split_seed": 0, **changes}
    return MultiMNIST(paths=paths, **options)


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    digit_made.mnist(tmp_path / "mnist", "t10k", 100)
    digit_made.mnist(tmp_path / "fashion_mnist", "t10k", 50, seed=1)
    return DataPaths(tmp_path, tmp_path / "cache")


def test_both_pictures_lie_where_they_should() -> None:
    left, right = np.full((1, 28, 28), 7, np.uint8), np.full((1, 28, 28), 9, np.uint8)
    canvas = overlaid(left, right)[0]
    assert canvas.shape == (36, 36)
    assert (canvas[:8, :28] == 7).all() and (canvas[8:, 8:] == 9).all() and not canvas[:8, 28:].any()
    assert (overlaid(right, left)[0][:28, :28] == 9).all()  # the lighter one counts, whichever it is


def test_labels_are_those_of_the_pictures_put_together(paths: DataPaths) -> None:
    pictures = read_pictures("mnist", paths)
    splits = divided(pictures, 0)
    left, right = opened(paths, target="left", size=36), opened(paths, target="right", size=36)
    for split in SPLITS:
        items = left.items(split)
        x = left.gather(items)
        assert isinstance(x, np.ndarray) and np.array_equal(items, np.sort(splits[split]))
        for item, composed in zip(items, x[:, 0], strict=True):
            assert np.array_equal(composed[:8, :8], pictures.x[item, :8, :8])  # where nothing overlaps
            corner = [n for n in splits[split] if np.array_equal(composed[28:, 28:], pictures.x[n, 20:, 20:])]
            assert len(corner) == 1 and corner[0] != item  # the partner is of this split
            assert left.targets(np.array([item])) == pictures.y[item]
            assert right.targets(np.array([item])) == pictures.y[corner[0]]


def test_the_classes_that_are_present_are_those_of_both_pictures(paths: DataPaths) -> None:
    left, right, present = (opened(paths, target=target) for target in ("left", "right", "present"))
    items = np.arange(100)
    table = present.targets(items)
    assert present.kind == "multilabel" and isinstance(family_of(present), SeveralClasses)
    assert [set(np.flatnonzero(row)) for row in table] == [
        {a, b} for a, b in zip(left.targets(items), right.targets(items), strict=True)
    ]


def test_partners_are_others_and_all_can_be_chosen() -> None:
    splits: dict[Split, Any] = {"train": np.arange(0, 90, 3), "val": np.arange(1, 90, 3), "test": np.arange(2, 90, 3)}
    drawn = np.stack([partners(splits, key) for key in range(300)])
    assert (drawn != np.arange(90)).all() and (drawn % 3 == np.arange(90) % 3).all()
    assert all(len(np.unique(column)) == 29 for column in drawn.T)


def test_noise_labels_are_the_same_each_time_and_independent_of_the_digits() -> None:
    paths = DataPaths(real("digits").parent, Path("nowhere"))
    noise, again, left = (opened(paths, target=target) for target in ("noise", "noise", "left"))
    items = np.arange(10_000)
    labels, digits = noise.targets(items), left.targets(items)
    assert np.array_equal(labels, again.targets(items))
    table = np.zeros((10, 10))
    np.add.at(table, (labels, digits), 1)
    expected = np.outer(table.sum(1), table.sum(0)) / 10_000
    assert ((table - expected) ** 2 / expected).sum() < 126  # 81 degrees of freedom: one in a thousand is more


def test_one_seed_one_composition(paths: DataPaths) -> None:
    assert opened(paths).fingerprint == opened(paths).fingerprint
    others = [opened(paths, split_seed=1), opened(paths, target="right"), opened(paths, pictures="fashion_mnist")]
    assert len({one.fingerprint for one in (opened(paths), *others)}) == 4
    assert opened(paths, pictures="fashion_mnist").name == "multi_fashion_mnist-left"
