"""Fewer labelled texts: every source of them keeps what is asked for, evenly by class, and leaves its tests alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl.config.compose import compose
from metamtl.data.crossner_domain import CrossNERDomain
from metamtl.data.examples import ExampleSource
from metamtl.data.hwu64 import HWU64
from metamtl.data.sentiment_sentences import SentimentSentences
from metamtl.data.snips import Snips
from metamtl.data.source import DataPaths, Split
from metamtl.data.ud_pud import UDPUD
from metamtl.data.wnut17 import WNUT17
from metamtl.data.xsid import XSID
from metamtl.errors import UsageError
from metamtl.opening import open_sources
from tests.data import test_crossner, test_snips
from tests.data.image_files import real
from tests.data.test_labelled_texts import SPLITS, counts, put, source


def requests(folder: Path) -> Path:
    """Of xSID 50 requests in a validation file, four in five of one intent."""
    lines = [f"# intent = {('end', 'rain')[n % 5 > 0]}\n1\tword{n}\t_\t{('O', 'B-kind')[n % 2]}\n\n" for n in range(60)]
    texts = {"valid": "".join(lines[:50]), "test": "".join(lines[50:])}
    return put(folder, {f"xsid/{one}.{part}.conll": text for one in ("en", "de") for part, text in texts.items()})


def home(folder: Path) -> Path:
    """Of HWU64 80 requests, three in four of one scenario and intent."""
    rows = [f"{('play', 'alarm')[n % 4 > 0]},set,do {n},do [time : {n}]\n" for n in range(90)]
    head = "scenario,intent,text,annotated_text\n"
    return put(folder, {"hwu64/train.csv": head + "".join(rows[:80]), "hwu64/test.csv": head + "".join(rows[80:])})


def messages(folder: Path) -> Path:
    """Of WNUT 2017 30 messages in each file."""
    lines = "".join(f"{{0}}{n}\tO\nRome{n}\tB-location\n\n" for n in range(30))
    return put(folder, {f"wnut17/{part}.conll": lines.format(part) for part in ("train", "dev", "test")})


def parsed(folder: Path) -> Path:
    """Of PUD 90 sentences of one word."""
    lines = (f"# sent_id = n{n}\n1\tword{n}\t_\t{('NOUN', 'VERB')[n % 2]}\n\n" for n in range(90))
    return put(folder, {"ud_pud/de_pud-ud-test.conllu": "".join(lines)})


def opinions(folder: Path) -> Path:
    """90 of them, two in three positive."""
    lines = (f"it was thing {n}\t{int(n % 3 > 0)}\n" for n in range(90))
    return put(folder, {"sentiment_sentences/imdb_labelled.txt": "".join(lines)})


INTENT, SLOTS = {"target": "intent"}, {"target": "slots"}
Case = tuple[str, Callable[[Path], Path], Callable[..., ExampleSource], dict[str, Any]]
CASES: list[Case] = [
    ("xsid", requests, XSID, {**INTENT, "language": "de"}),
    ("xsid", requests, XSID, {**SLOTS, "language": "de"}),
    ("hwu64", home, HWU64, INTENT),
    ("hwu64", home, HWU64, {"target": "scenario"}),
    ("hwu64", home, HWU64, SLOTS),
    ("snips", test_snips.official, Snips, INTENT),
    ("snips", test_snips.official, Snips, SLOTS),
    ("crossner_domain", test_crossner.official, CrossNERDomain, {"domain": "science"}),
    ("wnut17", messages, WNUT17, {}),
    ("ud_pud", parsed, UDPUD, {"language": "de"}),
    ("sentiment_sentences", opinions, SentimentSentences, {"domain": "imdb"}),
]


@pytest.mark.parametrize(("write", "make", "options"), [case[1:] for case in CASES])
def test_as_many_are_kept_as_asked_for(
    write: Callable[[Path], Path], make: Callable[..., ExampleSource], options: dict[str, Any], tmp_path: Path
) -> None:
    write(tmp_path)
    whole, few, more = (source(make, tmp_path, **options, labels=count) for count in (None, 4, 8))
    train, val, test = counts(whole)
    assert counts(few) == [4, 4, test] and counts(more) == [8, min(8, val), test]
    assert few.facts["examples"] == {"train": 4, "val": 4, "test": test}
    for split in SPLITS:
        assert set(few.items(split)) <= set(more.items(split)) <= set(whole.items(split))
    unchanged = whole.items("test")
    np.testing.assert_array_equal(few.items("test"), unchanged)
    np.testing.assert_array_equal(few.gather(unchanged), whole.gather(unchanged))
    np.testing.assert_array_equal(few.targets(unchanged), whole.targets(unchanged))
    assert few.output_names == whole.output_names, "the head is the same whatever is kept"

    again = source(make, tmp_path, **options, labels=4)
    assert again.fingerprint == few.fingerprint and all(np.array_equal(again.items(s), few.items(s)) for s in SPLITS)
    assert counts(source(make, tmp_path, **options, labels=4, val_labels=2)) == [4, 2, test]
    assert counts(source(make, tmp_path, **options, val_labels=2)) == [train, 2, test]
    assert counts(source(make, tmp_path, **options, labels=train)) == [train, min(train, val), test]
    with pytest.raises(UsageError, match=rf"^data\.labels={train + 1}: there are {train} training examples\.$"):
        source(make, tmp_path, **options, labels=train + 1)
    with pytest.raises(UsageError, match=rf"^data\.val_labels={val + 1}: there are {val} validation examples\.$"):
        source(make, tmp_path, **options, val_labels=val + 1)


@pytest.mark.parametrize(
    ("write", "make", "options", "classes"),
    [
        (requests, XSID, {**INTENT, "language": "de"}, 2),
        (home, HWU64, {"target": "scenario"}, 2),
        (test_snips.official, Snips, INTENT, 7),
        (opinions, SentimentSentences, {"domain": "imdb"}, 2),
    ],
)
def test_as_many_of_each_class_as_can_be(
    write: Callable[[Path], Path],
    make: Callable[..., ExampleSource],
    options: dict[str, Any],
    classes: int,
    tmp_path: Path,
) -> None:
    made = source(make, write(tmp_path), **options, labels=2 * classes)
    splits: tuple[Split, ...] = ("train", "val")
    for split in splits:
        assert np.bincount(made.targets(made.items(split))).tolist() == [2] * classes


@pytest.mark.parametrize("option", dict.fromkeys(case[0] for case in CASES))
def test_the_keys_are_typed_and_none_is_too_few(option: str, tmp_path: Path) -> None:
    made = next(case for case in CASES if case[0] == option)
    made[1](tmp_path)
    typed = [f"{name}={value}" for name, value in made[3].items()]
    keys = ["algo=joint", f"data={option}", f"paths.data={tmp_path}", f"paths.cache={tmp_path / 'cache'}"]
    config = compose([*keys, *(f"data.{one}" for one in typed), "data.labels=4", "data.val_labels=3"])
    (opened,) = open_sources(config).values()
    assert isinstance(opened, ExampleSource) and counts(opened)[:2] == [4, 3]
    for key in ("labels", "val_labels"):
        with pytest.raises(UsageError, match=rf"data\.{key}=0: must be an integer >= 1 or null"):
            compose([*keys, f"data.{key}=0"])


def test_fifty_requests_in_german(tmp_path: Path) -> None:
    made = XSID(
        paths=DataPaths(real("xsid").parent, tmp_path), vocabulary=16384, target="intent", language="de", labels=50
    )
    assert counts(made) == [50, 50, 500]
    there = np.bincount(made.targets(made.items("train")))
    assert there.max() <= 5, "every intent that has as many gives its share"
