"""Labelled texts in the forms they come in, small and made, and the real ones where they are."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl.data.examples import ExampleSource
from metamtl.data.hwu64 import HWU64, slots_of
from metamtl.data.hwu64_files import FOLD
from metamtl.data.sentences import split_of
from metamtl.data.sentiment_sentences import SentimentSentences
from metamtl.data.source import DataPaths, Split
from metamtl.data.ud_pud import UDPUD
from metamtl.data.wnut17 import WNUT17
from metamtl.data.xsid import XSID
from metamtl.errors import MetamtlError, UsageError
from tests.data.image_files import real, zipped

SPLITS: tuple[Split, ...] = ("train", "val", "test")
Make = Callable[..., ExampleSource]


def put(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def source(make: Make, folder: Path, **options: Any) -> ExampleSource:
    return make(paths=DataPaths(folder, folder / "cache"), vocabulary=1000, **options)


def counts(made: ExampleSource) -> list[int]:
    return [len(made.items(split)) for split in SPLITS]


def test_messages_keep_their_authors_splits(tmp_path: Path) -> None:
    lines = "@{0}\tO\nin\tO\nNew{0}\tB-location\nYork\tI-location\n\nwhat\tO\n"
    put(tmp_path / "wnut17", {f"{part}.conll": lines.format(part) for part in ("train", "dev", "test")})
    made = source(WNUT17, tmp_path)
    assert counts(made) == [1, 1, 2]  # `what` is left to the test split
    assert made.output_names == ("O", "B-location", "I-location")
    assert made.targets(made.items("train"))[0, :5].tolist() == [0, 0, 1, 2, -1]


def test_slots_between_brackets() -> None:
    words, tags = slots_of("wake me at [time : nine  am] on [date:friday]!")
    assert words == ["wake", "me", "at", "nine", "am", "on", "friday", "!"]
    assert tags == ["O", "O", "O", "B-time", "I-time", "O", "B-date", "O"]
    assert slots_of("no slots") == (["no", "slots"], ["O", "O"])


def test_requests_are_asked_three_questions(tmp_path: Path) -> None:
    head = "scenario,intent,text,annotated_text\n"
    train = "".join(f"alarm,set,wake me at {n},wake me at [time : {n}]\n" for n in range(20))
    test = "play,music,play jazz,play [genre : jazz]\nalarm,set,wake me at 3,wake me at [time : 3]\n"
    put(tmp_path / "hwu64", {"train.csv": head + train, "test.csv": head + test})
    intent = source(HWU64, tmp_path, target="intent")
    assert sum(counts(intent)) == 21 and counts(intent)[2] == 2 and intent.facts["copies"] == 1
    assert intent.output_names == ("alarm_set", "play_music")
    assert source(HWU64, tmp_path, target="scenario").output_names == ("alarm", "play")
    slots = source(HWU64, tmp_path, target="slots")
    assert slots.output_names == ("O", "B-genre", "I-genre", "B-time", "I-time")
    assert np.array_equal(slots.items("val"), intent.items("val"))
    put(tmp_path / "hwu64", {"test.csv": "a,b\n1,2\n"})
    with pytest.raises(MetamtlError, match=r"test\.csv does not look like HWU64: it needs the columns annotated_text"):
        source(HWU64, tmp_path, target="intent")


def as_published(tables: dict[str, str]) -> dict[str, str]:
    """Tables of all intents, `train` and `test`, as in the authors' first fold: one an intent, with semicolons."""
    files: dict[str, str] = {}
    for part, folder in (("train", "trainset"), ("test", "testset/csv")):
        for number, row in enumerate(csv.DictReader(tables[part].splitlines())):
            file = f"{folder}/{row['scenario']}_{row['intent']}.csv"
            head = "answerid;scenario;intent;answer_annotation;answer_from_anno;answer_from_user\n"
            texts = f'"{row["annotated_text"]}";"{row["text"]}";"Said: ""{number}"""'
            files[file] = files.get(file, head) + f"{number};{row['scenario']};{row['intent']};{texts}\n"
    return files


def test_requests_are_read_as_their_authors_publish_them(tmp_path: Path) -> None:
    head = "scenario,intent,text,annotated_text\n"
    alarms = [f"alarm,set,wake me at {n},wake me at [time : {n}]\n" for n in range(20)]
    songs = [f'play,music,"play; {n}, or none",play; [song : {n}] or none\n' for n in range(20)]
    tables = {"train": head + "".join(alarms[1:] + songs[1:]), "test": head + alarms[0] + songs[0]}
    files = as_published(tables)
    clone = {f"{FOLD}/{name}": text for name, text in files.items()}
    put(tmp_path / "tables" / "hwu64", {f"{part}.csv": text for part, text in tables.items()})
    put(tmp_path / "clone" / "NLU-Evaluation-Data", clone)
    put(tmp_path / "fold" / "hwu64" / "KFold_1", files)
    packed = {f"NLU-Evaluation-Data-master/{name}": text.encode() for name, text in clone.items()}
    packed["NLU-Evaluation-Data-master/Collected-Original-Data/train_other.csv"] = b"of something else"
    zipped(tmp_path / "zip" / "hwu64" / "NLU-Evaluation-Data-master.zip", packed)
    made = [source(HWU64, tmp_path / one, target="slots") for one in ("tables", "clone", "fold", "zip")]
    assert counts(made[0]) == [35, 3, 2] and len(files) == 4
    assert len({one.fingerprint for one in made}) == 1
    (table,) = (tmp_path / "clone").rglob("trainset/alarm_set.csv")
    table.write_text("answerid;scenario;intent;answer_annotation\n1;alarm;set\n", encoding="utf-8")
    with pytest.raises(MetamtlError, match=r"alarm_set\.csv, line 2: fewer columns than the first line has"):
        source(HWU64, tmp_path / "clone", target="slots")
    zipped(tmp_path / "other" / "hwu64" / "any.zip", {"a.txt": b""})
    with pytest.raises(MetamtlError, match=r"any\.zip has neither train\.csv nor CrossValidation"):
        source(HWU64, tmp_path / "other", target="slots")
    with pytest.raises(UsageError, match=r"data=hwu64 needs .* git clone --depth 1 https://github\.com/xliuhw"):
        source(HWU64, put(tmp_path / "none", {"a": ""}), target="slots")


def test_languages_share_the_classes_of_english(tmp_path: Path) -> None:
    def block(word: str, intent: str, tag: str) -> str:
        return f"# text = {word}\n# intent = {intent}\n1\t{word}\t{intent}\t{tag}\n\n"

    english = block("rain", "weather", "B-kind") + block("noon", "alarm", "B-time")
    german = "".join(block(f"Regen{n}", "weather", "O") for n in range(5))
    files = {"en.valid.conll": english, "en.test.conll": block("stop", "end", "O")}
    files |= {"de.valid.conll": german, "de.test.conll": block("Halt", "end", "O")}
    put(tmp_path / "xsid" / "xSID-0.7", files)
    options = {"root": str(tmp_path / "xsid" / "xSID-0.7")}
    intent = source(XSID, tmp_path, target="intent", language="de", **options)
    assert intent.output_names == ("alarm", "end", "weather") and counts(intent) == [4, 1, 1]
    slots = source(XSID, tmp_path, target="slots", language="de", **options)
    assert slots.output_names == ("O", "B-kind", "I-kind", "B-time", "I-time")
    with pytest.raises(UsageError, match=r"data=xsid needs xx\.valid\.conll and 1 other files under paths\.data"):
        source(XSID, tmp_path, target="intent", language="xx", **options)


def test_a_sentence_is_in_one_split_whatever_its_language(tmp_path: Path) -> None:
    def file(word: str) -> str:
        return "".join(f"# sent_id = n{i}\n1\t{word}{i}\t_\tNOUN\n1-2\tx\t_\t_\n2\t.\t_\tPUNCT\n\n" for i in range(40))

    put(tmp_path / "ud_pud", {f"{one}_pud-ud-test.conllu": file(one) for one in ("en", "de")})
    english, german = (source(UDPUD, tmp_path, language=one) for one in ("en", "de"))
    assert counts(english) == counts(german) == [sum(split_of(f"n{i}") == s for i in range(40)) for s in SPLITS]
    assert min(counts(english)) > 0
    names = english.output_names
    assert [names[n] for n in english.targets(english.items("test"))[0, :2]] == ["NOUN", "PUNCT"]


def test_sentiment_is_the_last_column(tmp_path: Path) -> None:
    lines = "".join(f"It\x85s good\tor bad {n} \t{n % 2}\n" for n in range(30))
    put(tmp_path / "sentiment_sentences", {"yelp_labelled.txt": lines})
    made = source(SentimentSentences, tmp_path, domain="yelp")
    assert sum(counts(made)) == 30 and made.output_names == ("negative", "positive")
    put(tmp_path / "sentiment_sentences", {"yelp_labelled.txt": "Good\t1\nno label\n"})
    with pytest.raises(MetamtlError, match=r"yelp_labelled\.txt, line 2: no label 0 or 1"):
        source(SentimentSentences, tmp_path, domain="yelp")


REAL: list[tuple[str, Make, dict[str, Any], int, list[int], int]] = [
    # the folder, the source, its options, its outputs, examples of each split, and copies left out
    ("wnut17", WNUT17, {}, 13, [3394, 1009, 1287], 0),
    ("hwu64", HWU64, {"target": "intent"}, 64, [8964, 996, 1076], 0),
    ("hwu64", HWU64, {"target": "scenario"}, 18, [8964, 996, 1076], 0),
    ("xsid", XSID, {"target": "intent", "language": "en"}, 16, [192, 60, 500], 48),
    ("xsid", XSID, {"target": "slots", "language": "ja"}, 69, [73, 25, 250], 52),
    ("ud_pud", UDPUD, {"language": "hi"}, 18, [574, 199, 227], 0),
    ("ud_pud", UDPUD, {"language": "fr"}, 18, [574, 199, 227], 0),
    ("sentiment_sentences", SentimentSentences, {"domain": "imdb"}, 2, [646, 163, 191], 0),
]


@pytest.mark.parametrize(("folder", "make", "options", "outputs", "sizes", "copies"), REAL)
def test_the_real_texts(
    folder: str,
    make: Make,
    options: dict[str, Any],
    outputs: int,
    sizes: list[int],
    copies: int,
    tmp_path: Path,
) -> None:
    made = make(paths=DataPaths(real(folder).parent, tmp_path), vocabulary=16384, **options)
    assert made.output_size == outputs and counts(made) == sizes
    assert made.facts["copies"] == copies and made.facts["texts_cut"] == 0
    rows = {split: {row.tobytes() for row in made.gather(made.items(split))} for split in SPLITS}  # type: ignore[union-attr]
    assert not rows["train"] & rows["val"] and not (rows["train"] | rows["val"]) & rows["test"]
