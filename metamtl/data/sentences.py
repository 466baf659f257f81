"""Sentences with tagged words or one label, read from the usual files and made into labelled examples."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metamtl.data.archive import opened
from metamtl.data.identity import digest
from metamtl.data.source import Split
from metamtl.data.tokens import Tokeniser, Tokens, labels_at
from metamtl.errors import MetamtlError, UsageError

_NO_WORD = re.compile(r"\d+[-.]\d+")  # CoNLL-U's spans of joined words, as 3-4, and words that were left out, as 8.1

Splits = Mapping[Split, Sequence["Sentence"]]


@dataclass(frozen=True)
class Sentence:
    """Its words, a tag of each, and a label of the whole; tags or label may be absent."""

    words: tuple[str, ...]
    tags: tuple[str, ...] = ()
    label: str = ""


def file_texts(places: Sequence[Path], option: str, wanted: Mapping[str, str], how: str) -> dict[str, str]:
    """The texts of files, in UTF-8 or Latin-1, by the names that `wanted` gives them.

    `wanted` maps a name to a path (`ai/train.txt`) in one of `places`: folders, or zip archives that lie in them.
    UsageError with what is missing and `how` to get it.
    """
    found: dict[str, str] = {}
    for place in places:
        here = {name: place / path for name, path in wanted.items() if name not in found}
        found |= {name: decoded(file.read_bytes()) for name, file in here.items() if file.is_file()}
        for file in sorted(place.glob("*.zip")) if len(found) < len(wanted) else ():
            with opened(file) as archive:
                for name, path in wanted.items():
                    members = [one for one in archive.names if f"/{one}".endswith(f"/{path}")]
                    if name not in found and members:
                        found[name] = decoded(archive.read(min(members, key=len)))
    if missing := [path for name, path in wanted.items() if name not in found]:
        more = f" and {len(missing) - 1} other files" if len(missing) > 1 else ""
        raise UsageError(f"data={option} needs {missing[0]}{more} under paths.data: {how}")
    return found


def conll(text: str, where: str, word: int, tag: int, label: str = "") -> list[Sentence]:
    """Sentences of lines of columns between tabs, a word a line; MetamtlError that names `where` and a torn line.

    `word` and `tag` are the columns; `label` is the name of the comment (`# intent = ...`) that has it.
    """
    sentences: list[Sentence] = []
    rows: list[tuple[str, str]] = []
    said = ""
    for number, line in enumerate((*text.splitlines(), ""), 1):
        columns = line.split("\t")
        if not line.strip():
            if rows:
                words, tags = zip(*rows, strict=True)
                sentences.append(Sentence(words, tags, said))
            rows, said = [], ""
        elif line.startswith("# ") and len(columns) == 1:
            key, _, value = line.removeprefix("# ").partition("=")
            said = value.strip() if label and key.strip().rstrip(":") == label else said
        elif len(columns) <= max(word, tag):
            raise MetamtlError(f"{where}, line {number}: {len(columns)} columns, fewer than {max(word, tag) + 1}.")
        elif word == 0 or not _NO_WORD.fullmatch(columns[0]):
            rows.append((columns[word], columns[tag]))
    return sentences


def without_crossings(splits: Splits) -> tuple[dict[Split, list[Sentence]], int]:
    """The splits without sentences, by their words in small letters, that a later one has; and how many these are."""
    order: tuple[Split, ...] = ("test", "val", "train")
    seen: set[tuple[str, ...]] = set()
    kept: dict[Split, list[Sentence]] = {}
    copies = 0
    for split in order:
        mine = [(sentence, tuple(word.lower() for word in sentence.words)) for sentence in splits.get(split, ())]
        kept[split] = [sentence for sentence, words in mine if words not in seen]
        copies += len(mine) - len(kept[split])
        seen |= {words for _, words in mine}
    return {split: kept[split] for split in reversed(order)}, copies


def split_of(identifier: str) -> Split:
    """The split of a sentence by its identifier alone: of many, 60% are for training and 20% for either other."""
    place = int(hashlib.sha256(identifier.encode()).hexdigest()[:8], 16) / 16**8
    return "train" if place < 0.6 else "val" if place < 0.8 else "test"


def entity_tags(sentences: Collection[Sentence]) -> list[str]:
    """O, B-a, I-a, B-b, I-b and so on for the types of entities in the tags, sorted."""
    types = sorted({tag[2:] for sentence in sentences for tag in sentence.tags if tag != "O"})
    return ["O", *(f"{begin}-{one}" for one in types for begin in "BI")]


def tagged(
    splits: Splits, tokens: Tokeniser, tags: Sequence[str] | None = None, known: Sequence[Sentence] = ()
) -> dict[str, Any]:
    """What an ExampleSource takes of sentences whose words are to be tagged.

    Where `tags` is None they are those of the entities in these sentences and in `known` ones.
    """
    every, encoded, common = _encoded(splits, tokens)
    names = entity_tags([*every, *known]) if tags is None else list(tags)
    number = {tag: at for at, tag in enumerate(names)}
    y = labels_at(encoded, [[number[tag] for tag in sentence.tags] for sentence in every])
    return {**common, "kind": "tagging", "y": y, "output_size": len(names), "output_names": names}


def labelled(splits: Splits, tokens: Tokeniser, known: Sequence[Sentence] = ()) -> dict[str, Any]:
    """What an ExampleSource takes of sentences with a label each; `known` ones may have labels that these lack."""
    every, _, common = _encoded(splits, tokens)
    names = sorted({sentence.label for sentence in (*every, *known)})
    y = np.array([names.index(sentence.label) for sentence in every], dtype=np.int64)
    return {**common, "kind": "classification", "y": y, "output_size": len(names), "output_names": names}


def _encoded(splits: Splits, tokens: Tokeniser) -> tuple[list[Sentence], Tokens, dict[str, Any]]:
    """The sentences of all splits in one list and as tokens, and what every ExampleSource takes of them."""
    kept, copies = without_crossings(splits)
    every = [sentence for sentences in kept.values() for sentence in sentences]
    encoded = tokens.encode([sentence.words for sentence in every])
    ends = np.cumsum([len(sentences) for sentences in kept.values()])[:-1]
    return (
        every,
        encoded,
        {
            "x": encoded.x,
            "splits": dict(zip(kept, np.split(np.arange(len(every)), ends), strict=True)),
            "preprocessing": dict(tokens.record),
            "facts": {"copies": copies, "texts_cut": encoded.cut},
            "identity": digest([(sentence.words, sentence.tags, sentence.label) for sentence in every]),
        },
    )


def decoded(data: bytes) -> str:
    """Text in UTF-8, or else in Latin-1, in which any bytes are."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
