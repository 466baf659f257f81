"""The font faces that matplotlib ships, and one character of one face as a normalised drawing.

DejaVu (Sans, Serif, Mono) and STIX General, each upright, bold, oblique and bold oblique: sixteen faces. A drawing is
cropped to its ink and scaled so that the longer side is the same for every character; what differs between characters
is then their shape, not their size or place.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from metamtl.errors import MetamtlError

CANVAS = 64  # pixels a side of a normalised drawing
INK = 44  # pixels of the longer side of what is drawn in it
POINTS = 72  # the size at which outlines are rendered before they are normalised
SMALLEST = 14  # pixels of the longer side at that size; dots and ticks below it are nothing to recognise

Drawing = NDArray[np.uint8]  # [CANVAS, CANVAS], ink = 255
Drawings = dict[str, Drawing]  # of one character, by face

UPRIGHT = ("DejaVuSans", "DejaVuSerif", "STIXGeneral", "DejaVuSansMono")
FACES = (  # in the order in which a character takes its styles, so that the first few differ much
    *UPRIGHT,
    "DejaVuSans-Bold",
    "STIXGeneralItalic",
    "DejaVuSerif-Bold",
    "DejaVuSans-Oblique",
    "STIXGeneralBol",
    "DejaVuSerif-Italic",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique",
    "STIXGeneralBolIta",
    "DejaVuSerif-BoldItalic",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono-BoldOblique",
)


@dataclass(frozen=True)
class Fonts:
    """The faces in `folder`."""

    folder: Path

    @staticmethod
    def shipped() -> Fonts:
        """Those of the installed matplotlib; raises MetamtlError where a face is missing."""
        fonts = Fonts(Path(matplotlib.get_data_path()) / "fonts" / "ttf")
        missing = [face for face in FACES if not fonts.path(face).is_file()]
        if missing:
            raise MetamtlError(
                f"data=glyphs is drawn with the fonts that matplotlib ships, and {', '.join(missing)} is not in "
                f"{fonts.folder}: reinstall matplotlib (pip install --force-reinstall matplotlib)."
            )
        return fonts

    def path(self, face: str) -> Path:
        """The file of `face`."""
        return self.folder / f"{face}.ttf"

    def identity(self) -> str:
        """sha256 over the font files and the versions of what renders them, hexadecimal."""
        digest = hashlib.sha256(f"FreeType {features.version('freetype2')}".encode())
        for face in FACES:
            digest.update(hashlib.sha256(self.path(face).read_bytes()).digest())
        return digest.hexdigest()

    @cached_property
    def covered(self) -> dict[str, frozenset[int]]:
        """The code points that each face has an outline for (glyph 0 is the box for a missing one)."""
        return {
            face: frozenset(code for code, glyph in FT2Font(str(self.path(face))).get_charmap().items() if glyph)
            for face in FACES
        }

    @cached_property
    def _sized(self) -> dict[str, ImageFont.FreeTypeFont]:
        basic = ImageFont.Layout.BASIC  # the other layout engine is not on every machine and may reshape Arabic
        return {face: ImageFont.truetype(self.path(face), POINTS, layout_engine=basic) for face in FACES}

    def faces_of(self, code: int) -> tuple[str, ...]:
        """The faces that cover `code`, in the order of FACES."""
        return tuple(face for face in FACES if code in self.covered[face])

    def draw(self, face: str, code: int) -> Drawing | None:
        """The normalised drawing; None where it is blank or a mere speck."""
        font = self._sized[face]
        left, top, right, bottom = (round(edge) for edge in font.getbbox(chr(code)))
        if right <= left or bottom <= top:
            return None
        page = Image.new("L", (right - left + 4, bottom - top + 4))
        ImageDraw.Draw(page).text((2 - left, 2 - top), chr(code), fill=255, font=font)
        inked = page.getbbox()
        if inked is None or max(inked[2] - inked[0], inked[3] - inked[1]) < SMALLEST:
            return None
        return _normalised(page.crop(inked))


def _normalised(drawing: Image.Image) -> Drawing:
    scale = INK / max(drawing.size)
    width, height = (max(1, round(side * scale)) for side in drawing.size)
    canvas = Image.new("L", (CANVAS, CANVAS))
    place = ((CANVAS - width) // 2, (CANVAS - height) // 2)
    canvas.paste(drawing.resize((width, height), Image.Resampling.BILINEAR), place)
    return np.asarray(canvas)
