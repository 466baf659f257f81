"""CLINC150: made files in the official form, and the real ones where they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl.data import clinc150
from metamtl.data.clinc150 import DOMAINS, Clinc150
from metamtl.data.source import DataPaths, Split, TaskShape
from metamtl.errors import MetamtlError
from tests.data.image_files import real

SPLITS: tuple[Split, ...] = ("train", "val", "test")
DOMAIN_OF = {
    f"{domain} {n}": domain for domains in DOMAINS.values() for domain in domains for n in range(15)
}  # the official names of the domains, made ones of the intents


def official(folder: Path, **changes: Any) -> Path:
    """Made files: 4, 2 and 2 queries of each intent, and two out of scope a part."""
    queries: dict[str, Any] = {
        part: [[f"{intent} {part} number {n}", intent] for intent in DOMAIN_OF for n in range(count)]
        for part, count in (("train", 4), ("val", 2), ("test", 2))
    }
    queries |= {f"oos_{part}": [[f"nonsense {part} {n}", "oos"] for n in range(2)] for part in SPLITS}
    domains: dict[str, list[str]] = {}
    for intent, domain in DOMAIN_OF.items():
        domains.setdefault(domain, []).append(intent)
    (folder / "clinc150").mkdir(parents=True, exist_ok=True)
    (folder / "clinc150" / "data_full.json").write_text(json.dumps({**queries, **changes}))
    (folder / "clinc150" / "domains.json").write_text(json.dumps(domains))
    return folder


def source(folder: Path, **options: Any) -> Clinc150:
    return Clinc150(paths=DataPaths(folder, folder / "cache"), **{"vocabulary": 1000, "length": 8, **options})


def texts(made: Clinc150, split: Split) -> set[bytes]:
    return {row.tobytes() for row in made.gather(made.items(split))}


@pytest.mark.parametrize(("split", "counts"), [("intents", [50, 50, 50]), ("domains", [75, 30, 45])])
def test_intents_are_divided_and_their_queries_joined(tmp_path: Path, split: str, counts: list[int]) -> None:
    made = source(official(tmp_path), split=split)
    names = {part: set(made.class_names(part)) for part in SPLITS}
    assert [len(names[part]) for part in SPLITS] == counts
    assert set.union(*names.values()) == set(DOMAIN_OF) and made.facts["examples_per_class"] == [8, 8]
    if split == "domains":
        assert {DOMAIN_OF[name] for name in names["test"]} == set(DOMAINS["test"])
    episode = made.episodes("test", TaskShape(5, 1, 2), np.arange(3), 7)[0]
    assert episode.support_x.shape == (3, 5, 8, 20) and episode.query_y.shape == (3, 10)


def test_another_seed_draws_other_intents(tmp_path: Path) -> None:
    official(tmp_path)
    one, other = (set(source(tmp_path, seed=seed).class_names("test")) for seed in (0, 1))
    assert one != other and one == set(source(tmp_path).class_names("test"))


def test_a_query_of_two_intents_stays_with_the_later_split(tmp_path: Path) -> None:
    first = source(official(tmp_path))
    train, test = (first.class_names(split)[0] for split in ("train", "test"))
    shared = [["said of both", train], ["said of both", test]]
    queries = [[f"{intent} {n}", intent] for intent in DOMAIN_OF for n in range(2)] + shared
    made = source(official(tmp_path / "shared", train=queries))
    assert made.facts["copies"] == 1
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not texts(made, a) & texts(made, b)  # type: ignore[arg-type]
    sizes = {name: int((made.labels(made.items("test")) == n).sum()) for n, name in enumerate(made.class_names("test"))}
    assert sizes[test] == 7 and set(sizes.values()) == {6, 7}


def test_whatever_reads_the_queries_episodes_are_the_same(tmp_path: Path) -> None:
    one, other = source(official(tmp_path)), source(tmp_path, vocabulary=500, length=6)
    assert one.fingerprint != other.fingerprint
    assert all(one.split_fingerprint(split) == other.split_fingerprint(split) for split in SPLITS)
    assert len({one.split_fingerprint(split) for split in SPLITS}) == 3
    assert source(tmp_path, seed=1).split_fingerprint("test") != one.split_fingerprint("test")


def test_what_is_not_clinc150_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetamtlError, match="does not look like CLINC150"):
        source(official(tmp_path, val=7))
    folder = official(tmp_path / "few")
    (folder / "clinc150" / "domains.json").write_text('{"banking": ["balance"]}')
    with pytest.raises(MetamtlError, match="names 1 intents, not the 150"):
        source(folder)


def test_offline_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clinc150, "FILES", replace(clinc150.FILES, url="http://127.0.0.1:9/"))
    with pytest.raises(MetamtlError, match=r"data_full\.json is missing and could not be downloaded"):
        source(tmp_path)


@pytest.mark.parametrize("split", ["intents", "domains"])
def test_the_real_queries(tmp_path: Path, split: Any) -> None:
    made = Clinc150(paths=DataPaths(real("clinc150").parent, tmp_path), vocabulary=16384, split=split)
    assert made.facts["texts_cut"] == 0
    assert sum(len(made.items(part)) for part in SPLITS) + made.facts["copies"] == 22_500
    assert made.facts["copies"] <= 4 and made.facts["examples_per_class"][1] == 150
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not texts(made, a) & texts(made, b)  # type: ignore[arg-type]
    parts = clinc150.read_queries(real("clinc150") / "data_full.json")
    assert {part: sum(map(len, queries.values())) for part, queries in parts.items()} == {
        "train": 15_000,
        "val": 3_000,
        "test": 4_500,
        "oos_train": 100,
        "oos_val": 100,
        "oos_test": 1_000,
    }
