"""Omniglot's alphabets, by names as a person types them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from metamtl.data.places import published
from metamtl.data.source import Split
from metamtl.errors import UsageError


def characters(part: str) -> list[str]:
    """Those of `background` or `evaluation`, as `Alphabet/characterNN`."""
    sizes: dict[str, int] = published("omniglot_alphabets.json")[part]
    return [f"{alphabet}/character{n:02d}" for alphabet in sorted(sizes) for n in range(1, sizes[alphabet] + 1)]


def alphabet_of(character: str) -> str:
    """The alphabet of `Alphabet/characterNN`."""
    return character.split("/")[0]


def named(words: Iterable[str]) -> list[str]:
    """The alphabets called so, each once, sorted; case and punctuation do not count.

    UsageError that tells of every word that is none of the 50, with the nearest.
    """
    parts: dict[str, dict[str, int]] = published("omniglot_alphabets.json")
    names = {_letters(name): name for sizes in parts.values() for name in sizes}
    asked = {word: _letters(word) for word in words}
    if wrong := [word for word, letters in asked.items() if letters not in names]:
        raise UsageError(*(f"data.without: Omniglot has no alphabet '{word}'{_hint(word, names)}" for word in wrong))
    return sorted({names[letters] for letters in asked.values()})


def leave_out(listed: Mapping[Split, list[str]], alphabets: Iterable[str]) -> dict[Split, list[str]]:
    """The splits without the characters of these alphabets; UsageError where that empties one."""
    gone = set(alphabets)
    left = {split: [one for one in names if alphabet_of(one) not in gone] for split, names in listed.items()}
    if empty := [split for split, names in left.items() if not names]:
        raise UsageError(f"data.without leaves no character in the {' and the '.join(empty)} split.")
    return left


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


def _hint(word: str, names: Mapping[str, str]) -> str:
    """What was meant, by the whole name or by its first word: `Ojibwe` is far from all that follows it in brackets."""
    letters = _letters(word)
    first = {_letters(name.split("_(")[0]): name for name in names.values()}
    found = get_close_matches(letters, {**first, **names}, n=1, cutoff=0.6)
    return f"; did you mean {({**first, **names})[found[0]]}?" if found else "."
