"""Affine distortions of images: Koch, Zemel & Salakhutdinov (2015), Siamese Neural Networks for One-shot Image
Recognition, section 3.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.data.random import Keys, uniform

TURN = np.deg2rad(10)  # largest, in either direction
SHEAR, SCALE, SHIFT = 0.3, 0.2, 2 / 105  # a shift is a share of the side; the paper's images have 105 pixels


def distort(images: NDArray[Any], keys: Keys) -> NDArray[Any]:
    """Images [N, C, H, W] turned, sheared, scaled and shifted, each by its key [N] and each change in half of them.

    Read by bilinear interpolation; beyond its edge an image goes on as its edge is. The same type as the images'.
    """
    height, width = images.shape[-2:]
    rows, columns = np.meshgrid(_centred(height), _centred(width), indexing="ij")
    places = np.stack([columns.ravel(), rows.ravel()])  # [2, H W]
    matrix, shift = _maps(keys)
    x, y = np.moveaxis(matrix @ places + (shift * [width, height])[..., None], 1, 0)  # where each pixel is read
    read = _bilinear(images, y + (height - 1) / 2, x + (width - 1) / 2)
    rounded = np.rint(read) if np.issubdtype(images.dtype, np.integer) else read
    return rounded.astype(images.dtype).reshape(images.shape)


def _maps(keys: Keys) -> tuple[NDArray[Any], NDArray[Any]]:
    """Matrices [N, 2, 2] and shifts [N, 2], the latter in shares of the sides."""
    drawn = uniform(keys[:, None], np.arange(14))
    turn, shear_x, shear_y, scale_x, scale_y, shift_x, shift_y = np.where(
        drawn[:, :7] < 0.5, 2 * drawn[:, 7:] - 1, 0.0
    ).T
    cosine, sine = np.cos(TURN * turn), np.sin(TURN * turn)
    turned = _matrices(cosine, -sine, sine, cosine)
    sheared = _matrices(np.ones_like(turn), SHEAR * shear_x, SHEAR * shear_y, np.ones_like(turn))
    none = np.zeros_like(turn)
    scaled = _matrices(1 + SCALE * scale_x, none, none, 1 + SCALE * scale_y)
    return turned @ sheared @ scaled, SHIFT * np.stack([shift_x, shift_y], 1)


def _matrices(*entries: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack(entries, 1).reshape(-1, 2, 2)


def _centred(size: int) -> NDArray[Any]:
    return np.arange(size) - (size - 1) / 2


def _bilinear(images: NDArray[Any], rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, H W, C]-sized readings of images [N, C, H, W] at rows and columns [N, H W], as [N, C, H W]."""
    height, width = images.shape[-2:]
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    top, left = np.minimum(rows.astype(int), max(height - 2, 0)), np.minimum(columns.astype(int), max(width - 2, 0))
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, across = (rows - top)[:, None], (columns - left)[:, None]
    which = np.arange(len(images))[:, None]

    def at(row: NDArray[Any], column: NDArray[Any]) -> NDArray[Any]:
        return np.moveaxis(images[which, :, row, column], 2, 1)

    above = at(top, left) * (1 - across) + at(top, right) * across
    below = at(bottom, left) * (1 - across) + at(bottom, right) * across
    read: NDArray[np.float64] = above * (1 - down) + below * down
    return read
