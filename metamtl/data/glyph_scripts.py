"""Which characters the glyphs data set draws, and which scripts are held out: ranges of Unicode code points.

A script here is one or more Unicode blocks that people read as one set of signs; it lies in one split as a whole. Left
out are blocks of dots and bars that differ too little at 28 pixels (Braille, box drawing, dominoes, playing cards,
hexagrams, tetragrams, emoticons), blocks of letters under stacked accents (Latin Extended Additional, Greek Extended),
the mathematical alphabets, which are Latin and Greek letters in other styles, and marks that only combine with others.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from metamtl.data.source import Split


@dataclass(frozen=True)
class Script:
    """A set of signs: its split and its ranges of code points, ends included."""

    name: str
    split: Split
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Character:
    """One class: a code point, the script that holds it and that script's split."""

    code: int
    script: str
    split: Split

    @property
    def name(self) -> str:
        """As in the Unicode charts, `U+0041 LATIN CAPITAL LETTER A`."""
        return f"U+{self.code:04X} {unicodedata.name(chr(self.code))}"


SCRIPTS: tuple[Script, ...] = (
    Script("latin", "train", ((0x21, 0x7E), (0xA1, 0x24F), (0x2C60, 0x2C7F), (0xA722, 0xA7FF), (0xFB00, 0xFB06))),
    Script("phonetic", "train", ((0x250, 0x2FF), (0x1D00, 0x1DBF), (0xA700, 0xA71F))),
    Script("greek", "train", ((0x370, 0x3FF),)),
    Script("cyrillic", "train", ((0x400, 0x52F), (0xA640, 0xA69F))),
    Script("punctuation", "train", ((0x2010, 0x205E), (0x2070, 0x209F), (0x20A0, 0x20CF), (0x2E00, 0x2E7F))),
    Script("letterlike", "train", ((0x2100, 0x214F), (0x2150, 0x218F), (0x2460, 0x24FF))),
    Script("arrows", "train", ((0x2190, 0x21FF), (0x27F0, 0x27FF), (0x2900, 0x297F), (0x2B00, 0x2BFF))),
    Script("mathematics", "train", ((0x2200, 0x22FF), (0x27C0, 0x27EF), (0x2980, 0x29FF), (0x2A00, 0x2AFF))),
    Script("technical", "train", ((0x2300, 0x23FF),)),
    Script("shapes", "train", ((0x2580, 0x25FF),)),
    Script("armenian", "val", ((0x530, 0x58F), (0xFB13, 0xFB17))),
    Script("lao", "val", ((0xE80, 0xEFF),)),
    Script("ogham", "val", ((0x1680, 0x169F),)),
    Script("lisu", "val", ((0xA4D0, 0xA4FF),)),
    Script("old_italic", "val", ((0x10300, 0x1032F),)),
    Script("symbols", "val", ((0x2600, 0x26FF),)),
    Script("dingbats", "val", ((0x2700, 0x27BF),)),
    Script("hebrew", "test", ((0x590, 0x5FF), (0xFB1D, 0xFB4F))),
    Script("arabic", "test", ((0x600, 0x6FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFF))),
    Script("nko", "test", ((0x7C0, 0x7FF),)),
    Script("georgian", "test", ((0x10A0, 0x10FF), (0x2D00, 0x2D2F))),
    Script("canadian_syllabics", "test", ((0x1400, 0x167F),)),
    Script("tifinagh", "test", ((0x2D30, 0x2D7F),)),
)


def characters(scripts: Iterable[Script] = SCRIPTS) -> Iterator[Character]:
    """Letters, numbers, punctuation and symbols of `scripts`, in the order of the table and then of the code points."""
    for script in scripts:
        for first, last in script.ranges:
            for code in range(first, last + 1):
                if unicodedata.category(chr(code))[0] in "LNPS":
                    yield Character(code, script.name, script.split)
