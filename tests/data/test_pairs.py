"""Pairs of examples: half of one class, a pure function of the step, never an example with itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.made import EXAMPLES, SPLITS, made


@pytest.mark.parametrize("size", [1, 2, 63, 64])
def test_half_are_of_one_class_and_half_of_two(cache: Path, size: int) -> None:
    source = made(cache)
    for step in range(5):
        first, second, same = source.pairs("train", size, step, 7)
        assert same.sum() == (size + 1) // 2
        assert np.array_equal(source.labels(first) == source.labels(second), same == 1)
        assert (first != second).all()
        assert np.isin([*first, *second], source.items("train")).all()


def test_they_are_a_function_of_key_and_step_alone(cache: Path) -> None:
    one, other = made(cache), made(cache)
    for wanted, found in zip(one.pairs("train", 32, 3, 7), other.pairs("train", 32, 3, 7), strict=True):
        assert np.array_equal(wanted, found)
    assert not np.array_equal(one.pairs("train", 32, 4, 7)[0], one.pairs("train", 32, 3, 7)[0])
    assert not np.array_equal(one.pairs("train", 32, 3, 8)[0], one.pairs("train", 32, 3, 7)[0])


def test_every_class_and_example_has_its_turn(cache: Path) -> None:
    """Items of each twin as often as chance has it, within five standard deviations."""
    source, count = made(cache), 24000
    first, second, _ = source.pairs("train", count, 0, 1)
    items = len(SPLITS["train"]) * EXAMPLES
    expected = count / items
    for twin in (first, second):
        found = np.unique(twin, return_counts=True)[1]
        assert len(found) == items
        assert abs(found - expected).max() < 5 * expected**0.5


def test_turned_classes_are_classes_of_their_own(cache: Path) -> None:
    source = made(cache, rotations=["train"])
    first, second, same = source.pairs("train", 400, 0, 1)
    assert np.array_equal(source.labels(first) == source.labels(second), same == 1)
    assert (first % 4 > 0).any() and ((first % 4 == second % 4) | (same == 0)).all()
