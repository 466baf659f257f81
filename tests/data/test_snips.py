"""SNIPS: made files in the official form, and the real ones where they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metamtl.data.snips import INTENTS, Snips, read_snips
from metamtl.data.source import DataPaths, Split
from metamtl.errors import MetamtlError, UsageError
from tests.data.image_files import real

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def official(folder: Path, queries: int = 105) -> Path:
    """Made queries `do THING number n for ARTIST`, `queries` to train on and 3 to validate on, of each intent."""
    for intent in INTENTS:
        for part, count, end in (("train", queries, "_full"), ("validate", 3, "")):
            listed = [
                {
                    "data": [
                        {"text": f"Do {intent} {part} number {n} for "},
                        {"text": "Édith Piaf", "entity": "artist"},
                        {"text": "!"},
                    ]
                }
                for n in range(count)
            ]
            file = folder / "2017-06-custom-intent-engines" / intent / f"{part}_{intent}{end}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({intent: listed}, ensure_ascii=False), encoding="latin-1")
    return folder


def source(folder: Path, target: Any, **options: Any) -> Snips:
    paths = DataPaths(folder, folder / "cache")
    return Snips(paths=paths, target=target, **{"vocabulary": 1000, "length": 12, **options})


def test_intents_and_slots_are_asked_of_the_same_queries(tmp_path: Path) -> None:
    official(tmp_path)
    intent, slots = source(tmp_path, "intent"), source(tmp_path, "slots")
    assert [len(intent.items(split)) for split in SPLITS] == [35, 700, 21]
    assert intent.output_names == INTENTS and slots.output_names == ("O", "B-artist", "I-artist")
    for split in SPLITS:
        items = intent.items(split)
        assert (intent.gather(items) == slots.gather(items)).all()  # type: ignore[union-attr]
    tags = slots.targets(slots.items("test"))[0].tolist()
    assert tags == [0, 0, 0, 0, 0, 0, 1, 2, 0, -1, -1, -1]
    assert {intent.output_names[n] for n in intent.targets(intent.items("test"))} == set(INTENTS)


def test_what_is_missing_or_torn_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"train_AddToPlaylist_full\.json and 13 other files .* git clone"):
        source(tmp_path, "intent")
    file = official(tmp_path) / "2017-06-custom-intent-engines/RateBook/validate_RateBook.json"
    file.write_text('{"RateBook": [{"data": 3}]}')
    with pytest.raises(MetamtlError, match=r"RateBook/validate_RateBook\.json does not look like SNIPS"):
        source(tmp_path, "intent")


def test_the_real_queries(tmp_path: Path) -> None:
    paths = DataPaths(real("snips").parent, tmp_path)
    read = read_snips(paths)
    counts = {split: len(read[split]) for split in SPLITS}
    assert counts == {"train": 1942 + 1973 + 2000 + 2000 + 1956 + 1954 + 1959 - 700, "val": 700, "test": 700}
    slots = Snips(paths=paths, target="slots", vocabulary=16384)
    assert slots.output_size == 1 + 2 * 39 and slots.facts["texts_cut"] == 0
    words = {split: {" ".join(q.words).lower() for q in read[split]} for split in SPLITS}
    assert slots.facts["copies"] >= len(words["train"] & words["test"]) > 0  # some queries were asked twice
    assert len(slots.items("test")) == 700 and slots.facts["copies"] < 20
