"""Curves: smoothing and the band over seeds."""

from __future__ import annotations

import numpy as np

from metamtl.dashboard.streams import MOST_POINTS, band, smoothed


def test_a_constant_is_smooth_from_its_first_point() -> None:
    np.testing.assert_allclose(smoothed(np.full(9, 3.0), 0.97), 3.0)


def test_a_gap_stays_a_gap_and_spoils_nothing_after_it() -> None:
    found = smoothed(np.array([1.0, np.nan, 1.0]), 0.5)
    assert np.isnan(found[1])
    np.testing.assert_allclose(found[[0, 2]], 1.0)


def test_smoothing_is_the_weighted_mean_of_the_past() -> None:
    np.testing.assert_allclose(smoothed(np.array([0.0, 1.0]), 0.5), [0.0, 1 / 1.5])


def test_a_band_lies_between_the_seeds_and_makes_nothing_up() -> None:
    steps = np.arange(5.0)
    found = band([(steps, np.zeros(5)), (steps[:3], np.array([2.0, 2.0, 4.0]))])
    np.testing.assert_allclose(found.mean, [1, 1, 2, 0, 0])
    np.testing.assert_allclose(found.low, 0)
    np.testing.assert_allclose(found.high, [2, 2, 4, 0, 0])


def test_seeds_written_at_other_steps_are_thinned_together() -> None:
    curves = [(np.arange(0, 5000.0, 2) + seed, np.full(2500, float(seed))) for seed in range(2)]
    found = band(curves)
    assert found.at.size <= MOST_POINTS
    assert (found.at[0], found.at[-1]) == (0, 4999)
    assert found.mean.min() >= 0 and found.mean.max() <= 1


def test_two_lines_of_one_step_are_one_point() -> None:
    found = band([(np.array([1.0, 1.0, 2.0]), np.array([5.0, 6.0, 7.0]))])
    np.testing.assert_allclose(found.at, [1, 2])
