"""Affine distortions against a slow reading of single pixels, and what they leave alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metamtl.data.distortion import _maps, distort
from metamtl.data.random import bits

KEYS = bits(3, np.arange(400))


def images(count: int, channels: int = 1, side: int = 9) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 256, (count, channels, side, side), dtype=np.uint8)


def test_a_pixel_is_read_where_the_map_says() -> None:
    x, (matrix, shift) = images(20, 2, 8), _maps(KEYS[:20])
    found = distort(x.astype(np.float64), KEYS[:20])
    for n in range(0, 20, 3):
        for row, column in ((0, 0), (3, 5), (7, 2)):
            at = matrix[n] @ [column - 3.5, row - 3.5] + 8 * shift[n] + 3.5
            x_at, y_at = np.clip(at, 0, 7)
            left, top = min(int(x_at), 6), min(int(y_at), 6)
            a, d = x_at - left, y_at - top
            corner = x[n, :, top : top + 2, left : left + 2].astype(np.float64)
            wanted = (corner * np.outer([1 - d, d], [1 - a, a])).sum((1, 2))
            np.testing.assert_allclose(found[n, :, row, column], wanted, atol=1e-9)


def test_an_image_depends_on_its_own_key_alone() -> None:
    x = images(20)
    assert np.array_equal(distort(x[5:9], KEYS[5:9]), distort(x, KEYS[:20])[5:9])
    assert not np.array_equal(distort(x, KEYS[20:40]), distort(x, KEYS[:20]))


def test_each_change_is_made_to_half_of_them_and_within_its_range() -> None:
    """Seven changes, each in half: a 128th of the images stay as they are, and those that do are equal bit for bit."""
    keys = bits(5, np.arange(4000))
    matrix, shift = _maps(keys)
    still = np.isclose(matrix, np.eye(2)).all((1, 2)) & (shift == 0).all(1)
    assert 10 < still.sum() < 60  # 31 are expected
    x = images(int(still.sum()))
    assert np.array_equal(distort(x, keys[still]), x)
    assert 0.4 < (shift != 0).mean() < 0.6 and abs(shift).max() <= 2 / 105
    area = np.linalg.det(matrix)
    assert area.min() >= 0.8**2 * (1 - 0.3**2) - 1e-9 and area.max() <= 1.2**2 * (1 + 0.3**2) + 1e-9


@pytest.mark.parametrize("dtype", [np.dtype("uint8"), np.dtype("float32")])
def test_shape_and_type_stay(dtype: np.dtype[Any]) -> None:
    x: NDArray[Any] = images(4, 3, 11).astype(dtype)
    found = distort(x, KEYS[:4])
    assert found.shape == x.shape and found.dtype == x.dtype


def test_a_plain_image_stays_plain() -> None:
    x: NDArray[Any] = np.full((50, 1, 9, 9), 77, dtype=np.uint8)
    assert np.array_equal(distort(x, KEYS[:50]), x)
