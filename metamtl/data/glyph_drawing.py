"""Twenty drawings of one character: its styles in turn, each bent and placed a little differently, 28 x 28 pixels.

A style is a face with a treatment: plain; light or heavy strokes; outlined; narrow, wide or slanting backwards. Every
drawing is then rotated, slanted, stretched, moved and warped by a smooth random field of a few waves. The random
numbers are functions of (SEED, code point, drawing), so that no character's drawings depend on which others are drawn,
and the pixels are sampled in whole numbers, so that every machine gets the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from metamtl.data.glyph_fonts import CANVAS, Drawing, Drawings
from metamtl.data.random import key_of, uniform

SEED = 2015
SIZE = 28  # pixels a side of a drawing
DRAWINGS = 20  # of a character
PLAIN = 6  # at most so many faces of a character are drawn as they are
# The most that a drawing is bent: radians, slope, relative scale, canvas pixels of shift and of each wave.
ROTATION, SHEAR, STRETCH, SHIFT, WAVE = 0.25, 0.25, 0.18, 5.0, 2.5
WAVES = 4  # along each axis, the constant one included

_FRACTION = 64  # a canvas pixel is this many steps of a sampling coordinate


@dataclass(frozen=True)
class Style:
    """How a drawing differs from others of its character; `width` stretches it, `slope` slants it."""

    face: str
    strokes: Literal["plain", "light", "heavy", "outlined"] = "plain"
    width: float = 1.0
    slope: float = 0.0


def styles(faces: Sequence[str]) -> tuple[Style, ...]:
    """Eight to twelve styles of a character that `faces` (two or more) have."""
    upright, other = faces[0], faces[1]
    bold = next((face for face in faces if "Bol" in face), upright)
    plain = tuple(Style(face) for face in faces[:PLAIN])
    return (
        *plain,
        Style(upright, "light"),
        Style(other, "heavy"),
        Style(bold, "outlined"),
        Style(upright, width=0.75),
        Style(other, width=1.25),
        Style(upright, slope=-0.25),
    )


def drawings(canvases: Drawings, code: int) -> NDArray[np.uint8]:
    """The examples of one class, uint8 [DRAWINGS, 1, SIZE, SIZE], from its normalised drawings in two faces or more."""
    each = styles(tuple(canvases))
    treated = np.stack([stroked(canvases[style.face], style.strokes) for style in each])
    turn = np.arange(DRAWINGS) % len(each)
    widths = np.array([style.width for style in each])[turn]
    slopes = np.array([style.slope for style in each])[turn]
    return bent(treated[turn], widths, slopes, code)[:, None]


def stroked(canvas: Drawing, strokes: str) -> Drawing:
    """A normalised drawing [CANVAS, CANVAS] with its strokes treated; too thin ones are not made lighter still."""
    if strokes == "heavy":
        return _extreme(canvas, np.maximum)
    if strokes == "outlined":
        return _extreme(canvas, np.maximum) - _extreme(canvas, np.minimum)
    if strokes == "light":
        lighter = _extreme(canvas, np.minimum)
        return canvas if 3 * int(lighter.sum()) < int(canvas.sum()) else lighter
    return canvas


def bent(
    canvases: NDArray[np.uint8], widths: NDArray[np.float64], slopes: NDArray[np.float64], code: int
) -> NDArray[np.uint8]:
    """Drawings uint8 [n, SIZE, SIZE] of canvases [n, CANVAS, CANVAS] in styles of these widths and slopes [n]."""
    places = np.clip(_places(widths, slopes, code), 0, _FRACTION * (CANVAS - 1) - 1)
    (row, column), (down, across) = places // _FRACTION, places % _FRACTION
    corner = (np.arange(len(canvases), dtype=np.int32) * CANVAS**2)[:, None, None] + row * CANVAS + column
    pixels = _smoothed(canvases).reshape(-1)

    def mixed(at: NDArray[np.int32]) -> NDArray[np.int32]:
        left = pixels[at]
        return np.asarray(left * _FRACTION + (pixels[at + 1] - left) * across)

    top = mixed(corner)
    levels = top * _FRACTION + (mixed(corner + CANVAS) - top) * down
    unit = 16 * _FRACTION**2
    return np.asarray((levels + unit // 2) // unit, dtype=np.uint8)


def _extreme(canvas: Drawing, either: np.ufunc) -> Drawing:
    """The largest or least value of each pixel and its eight neighbours; the margin is blank, so edges may wrap."""
    for axis in (0, 1):
        canvas = np.asarray(either(either(canvas, np.roll(canvas, 1, axis)), np.roll(canvas, -1, axis)), dtype=np.uint8)
    return canvas


def _smoothed(canvases: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Sixteen times a binomial 3 x 3 blur, without which sampling every second pixel would break thin strokes."""
    wide = canvases.astype(np.int32)
    for axis in (1, 2):
        wide = np.roll(wide, 1, axis) + 2 * wide + np.roll(wide, -1, axis)
    return wide


def _places(widths: NDArray[np.float64], slopes: NDArray[np.float64], code: int) -> NDArray[np.int32]:
    """Where the pixels of each drawing come from, (row, column) in steps of the canvas: int32 [2, n, SIZE, SIZE]."""
    n = len(widths)
    drawn = uniform(key_of("glyphs", SEED, code), np.arange(n)[:, None], np.arange(6 + 2 * WAVES**2)) * 2 - 1
    angle, slant = ROTATION * drawn[:, 0], SHEAR * drawn[:, 1] + slopes
    taller, wider = np.exp(STRETCH * drawn[:, 2]), np.exp(STRETCH * drawn[:, 3]) * widths
    moved = SHIFT * drawn[:, 4:6].T[:, :, None, None]
    grid = (np.arange(SIZE) + 0.5) / SIZE
    y, x = ((grid - 0.5) * CANVAS)[:, None], ((grid - 0.5) * CANVAS)[None, :]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    rows, columns = cos * y - sin * x, sin * y + cos * x
    columns = (columns + slant[:, None, None] * rows) / wider[:, None, None]
    affine = np.stack([rows / taller[:, None, None], columns]) + moved
    waves = np.cos(np.pi * np.arange(WAVES)[:, None] * grid)  # [WAVES, SIZE]
    damping = 1.0 / (1.0 + np.arange(WAVES)[:, None] + np.arange(WAVES)[None, :])
    height = WAVE * damping * drawn[:, 6:].reshape(n, 2, WAVES, WAVES).transpose(1, 0, 2, 3)
    field = waves.T @ height @ waves
    return np.rint((affine + field + (CANVAS - 1) / 2) * _FRACTION).astype(np.int32)
