"""Words as numbers: hashed subwords of our own, or the pieces of a pre-trained model.

Subwords are those of Bojanowski, Grave, Joulin & Mikolov (2017), Enriching Word Vectors with Subword Information,
TACL 5, section 3.2: a word is the set of its character n-grams between the marks < and >, and itself, each hashed to a
row of the embedding. Nothing is learnt from any text, so that no split can leak into another, data sets that share a
network share its rows, and a word never met still has known parts. 0 is padding.
"""

from __future__ import annotations

import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.data.pretrained import model_file
from metamtl.data.source import IntArray
from metamtl.errors import UsageError

NGRAMS = (3, 4)  # characters
PIECES = 20  # of a word at most; 98% of the words of CLINC150 have no more
_WORD = re.compile(r"\w+(?:['’]\w+)?|[^\w\s]")  # noqa: RUF001 (texts have both apostrophes)


def words_of(text: str) -> list[str]:
    """The words and marks of a text, clitics such as `what's` in one."""
    return _WORD.findall(text)


@dataclass(frozen=True)
class Tokens:
    """N texts as numbers: `x` [N, length, ...], 0 is padding; `word` [N, length] numbers the word that begins there.

    `word` is -1 at padding, at marks of the model's own and at the later pieces of a word; `cut` counts the texts that
    were longer.
    """

    x: NDArray[Any]
    word: IntArray
    cut: int


class Tokeniser(ABC):
    """From words to numbers, as `record` says in plain values."""

    record: dict[str, Any]
    length: int

    @abstractmethod
    def encode(self, texts: Sequence[Sequence[str]]) -> Tokens:
        """The words of each text as numbers."""


class Subwords(Tokeniser):
    """Each word of a text as up to PIECES numbers in [1, vocabulary), the first for its shape (`Aa`, `0`)."""

    def __init__(self, vocabulary: int, length: int) -> None:
        self.vocabulary, self.length = vocabulary, length
        self.record = {
            "tokens": "hashed subwords",
            "ngrams": list(NGRAMS),
            "pieces": PIECES,
            "vocabulary": vocabulary,
            "length": length,
        }

    def encode(self, texts: Sequence[Sequence[str]]) -> Tokens:
        """X [N, length, PIECES]."""
        x = np.zeros((len(texts), self.length, PIECES), dtype=_integers_below(self.vocabulary))
        word = np.full((len(texts), self.length), -1, dtype=np.int64)
        for row, text in enumerate(texts):
            for place, one in enumerate(text[: self.length]):
                rows = _rows(one, self.vocabulary)
                x[row, place, : len(rows)] = rows
                word[row, place] = place
        return Tokens(x, word, sum(len(text) > self.length for text in texts))


class ModelPieces(Tokeniser):
    """The pieces of a pre-trained model, its own numbers plus one, with its marks of beginning and end."""

    def __init__(self, model: str, length: int) -> None:
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError as error:
            raise UsageError("A pre-trained encoder needs its tokenizer: pip install 'metamtl[text]'.") from error
        file = model_file(model, "tokenizer.json")
        self.tokenizer = Tokenizer.from_file(str(file))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(length)
        self.length = length
        self.record = {"tokens": "pieces of the model", "tokenizer": _sum_of(file), "length": length}

    def encode(self, texts: Sequence[Sequence[str]]) -> Tokens:
        """X [N, length]."""
        largest = self.tokenizer.get_vocab_size() + 1
        x = np.zeros((len(texts), self.length), dtype=_integers_below(largest))
        word = np.full((len(texts), self.length), -1, dtype=np.int64)
        cut = 0
        for row, found in enumerate(self.tokenizer.encode_batch([list(text) for text in texts], is_pretokenized=True)):
            x[row, : len(found.ids)] = np.asarray(found.ids) + 1
            cut += bool(found.overflowing)
            seen: set[int] = set()
            for place, number in enumerate(found.word_ids):
                if number is not None and number not in seen:
                    seen.add(number)
                    word[row, place] = number
        return Tokens(x, word, cut)


def tokeniser(model: str | None, vocabulary: int | None, length: int) -> Tokeniser:
    """The pieces of `model`, or subwords hashed to `vocabulary` rows; UsageError where the backbone has neither."""
    if model is not None:
        return ModelPieces(model, length)
    if vocabulary is None:
        raise UsageError("This data is text, of which the backbone knows nothing: take backbone=text or backbone=hf.")
    return Subwords(vocabulary, length)


def labels_at(tokens: Tokens, labels: Iterable[Sequence[int]]) -> NDArray[np.int16]:
    """The label of each word where it begins [N, length], -1 elsewhere."""
    found = np.full(tokens.word.shape, -1, dtype=np.int16)
    for row, of_words in enumerate(labels):
        places = np.flatnonzero(tokens.word[row] >= 0)
        found[row, places] = np.asarray(of_words, dtype=np.int16)[tokens.word[row, places]]
    return found


@lru_cache(maxsize=2**18)
def _rows(word: str, vocabulary: int) -> tuple[int, ...]:
    marked = f"<{word.lower()}>"
    parts = [f"shape {_shape(word)}", marked]
    parts += [marked[at : at + n] for n in NGRAMS for at in range(len(marked) - n + 1)]
    distinct = list(dict.fromkeys(parts))[:PIECES]
    return tuple(1 + zlib.crc32(part.encode()) % (vocabulary - 1) for part in distinct)


def _shape(word: str) -> str:
    """`Aa` of `Paris`, `A` of `NLP`, `0` of `1987`, `a` of `the`: runs of one kind as one letter."""
    kinds = ("A" if c.isupper() else "a" if c.isalpha() else "0" if c.isdigit() else "-" for c in word)
    return re.sub(r"(.)\1+", r"\1", "".join(kinds))


def _integers_below(limit: int) -> type[np.int16] | type[np.int32]:
    return np.int16 if limit < 2**15 else np.int32


def _sum_of(file: Path) -> str:
    return f"crc32 {zlib.crc32(file.read_bytes()):08x}"
