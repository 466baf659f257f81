"""FewRel: made files in the official form, and the real ones where they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metamtl.data import fewrel
from metamtl.data.fewrel import FewRel, marked
from metamtl.data.source import DataPaths, Split
from metamtl.errors import MetamtlError
from tests.data.image_files import real

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def instance(tokens: str, head: list[int], tail: list[int]) -> dict[str, Any]:
    return {"tokens": tokens.split(), "h": ["x", "Q1", [head]], "t": ["y", "Q2", [tail]]}


def official(folder: Path, **more: Any) -> Path:
    wiki = {f"P{n}": [instance(f"a{n} knows b{i} well", [0], [2]) for i in range(6)] for n in range(16)}
    pubmed = {f"gene_{n}": [instance(f"c{n} binds d{i}", [2], [0]) for i in range(4)] for n in range(10)}
    (folder / "fewrel").mkdir(parents=True, exist_ok=True)
    (folder / "fewrel" / "val_wiki.json").write_text(json.dumps({**wiki, **more}))
    (folder / "fewrel" / "val_pubmed.json").write_text(json.dumps(pubmed))
    return folder


def source(folder: Path, **options: Any) -> FewRel:
    return FewRel(paths=DataPaths(folder, folder / "cache"), **{"vocabulary": 1000, "length": 12, **options})


def test_entities_stand_between_their_marks_and_within_the_window() -> None:
    words = "the small town lies on the river Rhine ."
    assert " ".join(marked(instance(words, [1, 2], [7]), 20)) == "the [h small town h] lies on the river [t Rhine t] ."
    inner = " ".join(marked(instance(words, [1, 2], [1]), 20))
    assert inner == "the [h [t small t] town h] lies on the river Rhine ."
    long = instance("x " * 50 + "Bonn lies on Rhine" + " y" * 50, [50], [53])
    window = marked(long, 12)[:12]
    assert window == ["x", "x", "[h", "Bonn", "h]", "lies", "on", "[t", "Rhine", "t]", "y", "y"]
    assert marked(instance("Bonn is " + "far " * 30, [0], [1]), 8)[0] == "[h"


def test_relations_are_divided(tmp_path: Path) -> None:
    made = source(official(tmp_path))
    names = {split: set(made.class_names(split)) for split in SPLITS}
    assert [len(names[split]) for split in SPLITS] == [10, 6, 10]
    assert names["train"] | names["val"] == {f"P{n}" for n in range(16)}
    assert set(source(tmp_path, seed=1).class_names("val")) != names["val"]


def test_a_sentence_of_two_splits_stays_with_the_later(tmp_path: Path) -> None:
    train = source(official(tmp_path)).class_names("train")[0]
    shared = [instance("C1 binds d1", [0], [2]), instance("all its own", [0], [2])]
    made = source(official(tmp_path / "shared", **{train: shared}))
    assert made.facts["copies"] == 1 and made.facts["examples_per_class"] == [1, 6]


def test_what_is_not_fewrel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MetamtlError, match=r"val_wiki\.json does not look like FewRel"):
        source(official(tmp_path, P3=[{"tokens": []}]))
    monkeypatch.setattr(fewrel, "FILES", replace(fewrel.FILES, url="http://127.0.0.1:9/"))
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(MetamtlError, match=r"val_wiki\.json is missing and could not be downloaded"):
        source(tmp_path / "elsewhere")


def test_the_real_relations(tmp_path: Path) -> None:
    made = FewRel(paths=DataPaths(real("fewrel").parent, tmp_path), vocabulary=16384)
    assert [made.class_count(split) for split in SPLITS] == [10, 6, 10]
    assert sum(len(made.items(split)) for split in SPLITS) + made.facts["copies"] == 16 * 700 + 10 * 100
    assert len(made.items("test")) == 1000 and len(made.items("val")) == 6 * 700
    rows = {split: {row.tobytes() for row in made.gather(made.items(split))} for split in SPLITS}
    assert not rows["train"] & rows["val"] and not (rows["train"] | rows["val"]) & rows["test"]
