"""Sentences from the usual files, and their way into labelled examples."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from metamtl.data.examples import ExampleSource
from metamtl.data.sentences import Sentence, conll, file_texts, labelled, tagged, without_crossings
from metamtl.data.source import Split
from metamtl.data.tokens import Subwords
from metamtl.errors import MetamtlError, UsageError

SPLITS: dict[Split, list[Sentence]] = {
    "train": [
        Sentence(("fly", "to", "New", "York"), ("O", "O", "B-city", "I-city"), "travel"),
        Sentence(("Stop",), ("O",), "end"),
    ],
    "val": [Sentence(("stop",), ("O",), "end"), Sentence(("see", "Rome"), ("O", "B-city"), "travel")],
    "test": [Sentence(("at", "noon"), ("O", "B-time"), "end")],
}


def test_columns_become_sentences() -> None:
    text = "# intent = travel\n# text = fly\n1\tfly\tO\n2\tRome\tB-city\n\n\n1\tstop\tO\n"
    found = conll(text, "x.conll", word=1, tag=2, label="intent")
    assert found == [Sentence(("fly", "Rome"), ("O", "B-city"), "travel"), Sentence(("stop",), ("O",), "")]
    joined = "1-2\tdu\t_\n1\tde\tADP\n2\tle\tDET\n2.1\tgone\tVERB\n3\t#\tSYM\n"
    assert conll(joined, "x.conllu", word=1, tag=2)[0].words == ("de", "le", "#")
    assert conll("e-mail\tO\n1-2\tO\n# 1\tO", "x.txt", word=0, tag=1)[0].words == ("e-mail", "1-2", "# 1")
    with pytest.raises(MetamtlError, match=r"x\.txt, line 2: 1 columns, fewer than 2"):
        conll("fly\tO\nRome\n", "x.txt", word=0, tag=1)


def test_a_sentence_of_two_splits_stays_with_the_later() -> None:
    kept, copies = without_crossings(SPLITS)
    assert copies == 1 and list(kept) == ["train", "val", "test"]
    assert [[" ".join(s.words) for s in kept[split]] for split in kept] == [
        ["fly to New York"],
        ["stop", "see Rome"],
        ["at noon"],
    ]


def test_tags_and_labels_reach_the_source() -> None:
    made = tagged(SPLITS, Subwords(100, 5))
    facts = made.pop("facts")
    source = ExampleSource(name="made", facts=facts, **made)
    assert source.output_names == ("O", "B-city", "I-city", "B-time", "I-time")
    assert facts == {"copies": 1, "texts_cut": 0} and source.input_shape == (5, 20)
    assert source.targets(source.items("train")).tolist() == [[0, 0, 1, 2, -1]]
    assert source.targets(source.items("val")).tolist() == [[0, -1, -1, -1, -1], [0, 1, -1, -1, -1]]
    shorter = ExampleSource(name="made", **tagged(SPLITS, Subwords(50, 4)))
    assert shorter.fingerprint != source.fingerprint  # other numbers of the same sentences
    assert shorter.split_fingerprint("test") == source.split_fingerprint("test")
    changed = {**SPLITS, "test": [Sentence(("at", "noon"), ("O", "O"), "end")]}
    assert ExampleSource(name="made", **tagged(changed, Subwords(50, 4))).split_fingerprint("test") != (
        source.split_fingerprint("test")
    )
    other = labelled(SPLITS, Subwords(100, 3))
    assert other["facts"] == {"copies": 1, "texts_cut": 1}
    assert other["output_names"] == ["end", "travel"] and other["y"].tolist() == [1, 0, 1, 0]


def test_files_are_found_in_folders_and_zips_whatever_their_encoding(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.txt").write_bytes("café".encode("latin-1"))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("deep/b/two.txt", "naïve")
    (tmp_path / "packed.zip").write_bytes(stream.getvalue())
    wanted = {"one": "a/one.txt", "two": "b/two.txt"}
    assert file_texts([tmp_path], "made", wanted, "") == {"one": "café", "two": "naïve"}
    with pytest.raises(UsageError, match=r"data=made needs c/three\.txt under paths\.data: ask for it"):
        file_texts([tmp_path], "made", {**wanted, "three": "c/three.txt"}, "ask for it")
