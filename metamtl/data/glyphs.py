"""Glyphs: characters of many scripts drawn from the fonts that matplotlib ships, with nothing to download.

Each class is a character, with 20 drawings in eight to twelve styles, each randomly deformed; groups are scripts.
Whole scripts are held out (`glyph_scripts`), and of characters that look alike, whether in one split or across two,
one stays (`glyph_lookalikes`), so that no drawing of a held-out class was seen in training.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal

import matplotlib
import numpy as np
import PIL

from metamtl.data import glyph_drawing, glyph_lookalikes
from metamtl.data.classes import ClassSource
from metamtl.data.glyph_drawing import DRAWINGS, PLAIN, SIZE, drawings
from metamtl.data.glyph_fonts import UPRIGHT, Drawings, Fonts
from metamtl.data.glyph_lookalikes import distinct
from metamtl.data.glyph_scripts import SCRIPTS, Character, characters
from metamtl.data.identity import digest
from metamtl.data.source import DataPaths, Split
from metamtl.data.store import ClassExamples, Packed, pack
from metamtl.registry import register

VERSION = 1  # raise when the code draws or chooses otherwise than before

log = logging.getLogger(__name__)


@register("data", "glyphs")
class Glyphs(ClassSource):
    """Characters as classes, uint8 [1, 28, 28] with ink 255, or three equal channels; groups are scripts."""

    def __init__(
        self, *, paths: DataPaths, within_script: bool = False, channels: Literal["grey", "rgb"] = "grey"
    ) -> None:
        fonts = Fonts.shipped()
        packed = pack(paths.cache.expanduser(), "glyphs", recipe(), fonts.identity(), lambda: _read(fonts))
        if channels == "rgb":
            packed = _in_three_channels(packed)
        split_of = {script.name: script.split for script in SCRIPTS}
        splits: dict[Split, list[str]] = {"train": [], "val": [], "test": []}
        for name, script in zip(packed.classes, packed.groups, strict=True):
            splits[split_of[script]].append(name)
        super().__init__(
            name="glyphs",
            packed=packed,
            splits=splits,
            within_group=within_script,
            preprocessing={
                "size": SIZE,
                "channels": channels,
                "polarity": "ink is 1, paper is 0",
                "order": "crop to the ink, scale its longer side to 19 pixels, centre",
                "scale": 1 / 255,
                "mean": None,
                "std": None,
            },
            facts={
                "split": "by script",
                "scripts": {part: [one.name for one in SCRIPTS if one.split == part] for part in splits},
                "matplotlib": matplotlib.__version__,
                "pillow": PIL.__version__,
                "licence": "fonts: Bitstream Vera and DejaVu (free), STIX (SIL OFL 1.1)",
            },
        )


def _in_three_channels(packed: Packed) -> Packed:
    """The same drawings for a network of photographs; a view, so that no byte is kept twice."""
    examples, _, *size = packed.x.shape
    x = np.broadcast_to(packed.x, (examples, 3, *size))
    return replace(packed, x=x, fingerprint=digest("three channels", packed.fingerprint))


def recipe() -> dict[str, Any]:
    """All that, with the fonts, settles the drawings; another recipe is another pack."""
    return {
        "version": VERSION,
        "seed": glyph_drawing.SEED,
        "drawings": DRAWINGS,
        "size": SIZE,
        "deformation": {
            name.lower(): getattr(glyph_drawing, name)
            for name in ("ROTATION", "SHEAR", "STRETCH", "SHIFT", "WAVE", "WAVES")
        },
        "same": glyph_lookalikes.SAME,
        "lookalike": glyph_lookalikes.LOOKALIKE,
        "scripts": [[one.name, one.split, one.ranges] for one in SCRIPTS],
        "pillow": PIL.__version__,
    }


def candidates(fonts: Fonts) -> tuple[list[Character], list[Drawings]]:
    """Characters that two faces or more can draw, and each one's drawings in the upright faces, or else the first."""
    found: list[Character] = []
    drawn: list[Drawings] = []
    for one in characters(SCRIPTS):
        faces = fonts.faces_of(one.code)
        upright = [face for face in faces if face in UPRIGHT] or faces[:1]
        canvases = _canvases(fonts, upright, one.code, {})
        if canvases and len(faces) >= 2:
            found.append(one)
            drawn.append(canvases)
    return found, drawn


def _read(fonts: Fonts) -> Iterator[ClassExamples]:
    started = time.perf_counter()
    found, upright = candidates(fonts)
    for i in distinct(upright, [one.split for one in found]):
        code = found[i].code
        canvases = _canvases(fonts, _faces(fonts, code), code, upright[i])
        if len(canvases) >= 2:
            yield ClassExamples(found[i].name, found[i].script, drawings(canvases, code))
    log.info("Drew the glyphs data set, once, in %d s", time.perf_counter() - started)


def _faces(fonts: Fonts, code: int) -> tuple[str, ...]:
    """The faces that a character's styles use: the first PLAIN, and the first bold one wherever it stands."""
    faces = fonts.faces_of(code)
    bold = [face for face in faces if "Bol" in face][:1]
    return tuple(dict.fromkeys((*faces[:PLAIN], *bold)))


def _canvases(fonts: Fonts, faces: Iterable[str], code: int, known: Drawings) -> Drawings:
    """The normalised drawings of a character in these faces, but for blank ones; the `known` are not drawn again."""
    canvases = {face: known[face] if face in known else fonts.draw(face, code) for face in faces}
    return {face: canvas for face, canvas in canvases.items() if canvas is not None}
