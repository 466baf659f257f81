"""The counter-based random function: uniform, distinct where it must be, and pure."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from metamtl.data.random import bits, distinct, integers, key_of, permutation, uniform


def chi_square(values: NDArray[np.int64], cells: int) -> float:
    """In standard deviations from what uniform values give."""
    counts = np.bincount(values, minlength=cells)
    expected = len(values) / cells
    return float((((counts - expected) ** 2 / expected).sum() - (cells - 1)) / math.sqrt(2 * (cells - 1)))


@pytest.mark.parametrize("below", [2, 3, 20, 964])
def test_integers_are_uniform(below: int) -> None:
    assert abs(chi_square(integers(below, key_of("a"), np.arange(200_000)), below)) < 4


def test_integers_reach_both_ends_of_a_large_range() -> None:
    values = integers(2**32 - 1, 5, np.arange(100_000))
    assert values.min() < 2**20 and values.max() > 2**32 - 2**20
    assert (integers(1, 5, np.arange(100)) == 0).all()


def test_uniform_is_uniform_and_below_one() -> None:
    values = uniform(7, np.arange(200_000))
    assert values.min() >= 0 and values.max() < 1
    assert abs(chi_square((values * 100).astype(np.int64), 100)) < 4


@pytest.mark.parametrize("difference", [1, 2, 1 << 20, 1 << 63])
def test_neighbouring_keys_and_counters_share_nothing(difference: int) -> None:
    """Half of the bits differ between neighbours, and no bit follows another stream's."""
    counters = np.arange(20_000)
    for other in (bits(99 ^ difference, counters), bits(99, counters ^ (difference % (1 << 62)), 0)):
        flips = np.unpackbits((bits(99, counters) ^ other).view(np.uint8).reshape(-1, 8), axis=1).mean(axis=0)
        assert np.abs(flips - 0.5).max() < 0.02


def test_bits_know_the_order_and_number_of_counters() -> None:
    assert len({int(bits(1, *counters)) for counters in [(), (0,), (0, 0), (1,), (0, 1), (1, 0), (-1,)]}) == 7


def test_bits_are_those_of_splitmix64() -> None:
    """Its published first outputs for seed 0. A change here would change every episode of every run."""
    assert [hex(int(bits(0, i))) for i in range(3)] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]
    assert int(bits(key_of("train", 0), 1, 2)) == 1052588845354997018


def test_keys_tell_parts_apart() -> None:
    parts = [("a", 1), ("a", "1"), ("a1",), ("a", [1]), ("a", None), ("b", 1), ("a", {"x": 1, "y": 2})]
    assert len({key_of(*one) for one in parts}) == len(parts)
    assert key_of({"x": 1, "y": 2}) == key_of({"y": 2, "x": 1})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(1, 40), st.data())
def test_distinct_is_distinct_below_and_pure(key: int, count: int, data: st.DataObject) -> None:
    below = np.array(data.draw(st.lists(st.integers(count, count + 30), min_size=1, max_size=6)))
    keys = bits(key, np.arange(len(below)))
    chosen = distinct(below, count, keys)
    assert chosen.shape == (len(below), count)
    assert (chosen >= 0).all() and (chosen < below[:, None]).all()
    assert all(len(set(row)) == count for row in chosen.tolist())
    for row in range(len(below)):  # a row does not know its neighbours
        np.testing.assert_array_equal(chosen[row], distinct(below[row], count, keys[row]))


def test_distinct_makes_every_ordered_choice_equally_often() -> None:
    chosen = distinct(5, 3, bits(3, np.arange(60_000)))
    code = chosen[:, 0] * 25 + chosen[:, 1] * 5 + chosen[:, 2]
    kinds, cell = np.unique(code, return_inverse=True)
    assert len(kinds) == 5 * 4 * 3
    assert abs(chi_square(cell.astype(np.int64), 60)) < 4


def test_distinct_refuses_more_than_there_are() -> None:
    with pytest.raises(ValueError, match="4 distinct integers"):
        distinct([5, 3], 4, bits(0, np.arange(2)))


def test_permutation_is_a_fresh_order_for_each_counter() -> None:
    first, second = permutation(1000, 1, 0), permutation(1000, 1, 1)
    assert sorted(first.tolist()) == list(range(1000)) == sorted(second.tolist())
    assert (first == second).mean() < 0.02
    np.testing.assert_array_equal(first, permutation(1000, 1, 0))
