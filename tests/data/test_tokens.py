"""Words as numbers: what subwords share, where labels go, and what is recorded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from metamtl.data.pretrained import model_file, model_folder
from metamtl.data.tokens import PIECES, Subwords, Tokens, labels_at, tokeniser, words_of
from metamtl.errors import UsageError


def rows(word: str, vocabulary: int = 2**15) -> set[int]:
    x = Subwords(vocabulary, 1).encode([[word]]).x[0, 0]
    return set(x[x > 0].tolist())


def test_a_text_is_cut_into_words_and_marks() -> None:
    assert words_of("what's on, at 5.30?") == ["what's", "on", ",", "at", "5", ".", "30", "?"]


def test_words_that_look_alike_share_numbers_and_others_hardly_any() -> None:
    assert len(rows("restaurant") & rows("restaurants")) >= 10
    assert len(rows("restaurant") & rows("xylophone")) <= 1  # their shape
    assert rows("Paris") != rows("paris") and len(rows("Paris") & rows("paris")) == len(rows("paris")) - 1
    assert all(0 < row < 50 for row in rows("restaurants", vocabulary=50))
    assert len(rows("a" + "bcdefghij" * 9)) == PIECES


def test_the_numbers_are_the_same_for_ever() -> None:
    """A saved network reads the rows that it has learnt: another hash would be another language."""
    assert Subwords(16384, 1).encode([["hi"]]).x[0, 0, :5].tolist() == [623, 12402, 11174, 587, 0]


def test_padding_is_nought_and_longer_texts_are_counted() -> None:
    tokens = Subwords(1000, 3).encode([["one"], ["one", "two", "three", "four"], []])
    assert tokens.x.shape == (3, 3, PIECES) and tokens.x.dtype == np.int16
    assert tokens.word.tolist() == [[0, -1, -1], [0, 1, 2], [-1, -1, -1]]
    assert not tokens.x[0, 1:].any() and not tokens.x[2].any() and tokens.x[1].any(1).all()
    assert tokens.cut == 1
    assert np.array_equal(tokens.x[0, 0], tokens.x[1, 0])


def test_labels_stand_where_words_begin() -> None:
    tokens = Tokens(np.zeros((2, 5)), np.array([[-1, 0, -1, 1, -1], [-1, 0, -1, -1, -1]]), 0)
    assert labels_at(tokens, [[7, 8], [9, 5]]).tolist() == [[-1, 7, -1, 8, -1], [-1, 9, -1, -1, -1]]


def test_a_model_is_found_in_a_folder_or_a_package_that_carries_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "carrier" / "model"
    inner.mkdir(parents=True)
    (tmp_path / "carrier" / "__init__.py").write_text("raise ImportError('not to be imported')")
    (inner / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert model_folder(str(inner)) == model_folder("carrier") == inner
    assert model_folder("no_such_package") is None
    with pytest.raises(UsageError, match=r"has no tokenizer\.json"):
        model_file(str(inner), "tokenizer.json")


def write_pieces(folder: Path) -> None:
    """A tokenizer of six pieces, beside its model's config."""
    tokenizers = pytest.importorskip("tokenizers", reason="pip install 'metamtl[text]'")
    vocabulary = {"[UNK]": 0, "play": 1, "##ing": 2, "songs": 3, "[CLS]": 4, "[SEP]": 5}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 4), ("[SEP]", 5)]
    )
    made.save(str(folder / "tokenizer.json"))


def test_the_pieces_of_a_model_begin_at_words(tmp_path: Path) -> None:
    write_pieces(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    pieces = tokeniser(str(tmp_path), None, 6)
    tokens = pieces.encode([["playing", "songs"], ["songs"] * 5])
    assert tokens.x.tolist() == [[5, 2, 3, 4, 6, 0], [5, 4, 4, 4, 4, 6]]  # its own numbers plus one
    assert tokens.word.tolist() == [[-1, 0, -1, 1, -1, -1], [-1, 0, 1, 2, 3, -1]]
    assert tokens.cut == 1
    json.dumps(pieces.record)
    assert str(tmp_path) not in json.dumps(pieces.record)  # a record tells of a tokenizer, not of a machine
