from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl.data import omniglot
from metamtl.data.alphabets import alphabet_of
from metamtl.data.alphabets import characters as every_character
from metamtl.data.omniglot import VALIDATION_ALPHABETS, Omniglot, split_characters
from metamtl.data.source import DataPaths, Split
from metamtl.data.store import Packed
from metamtl.data.store import pack as really_pack
from metamtl.errors import MetamtlError, UsageError
from tests.data.image_files import crossings, noise, png, real, unpacked, zipped

SPLITS: tuple[Split, ...] = ("train", "val", "test")
DRAWINGS = 2
SOME: dict[Split, list[str]] = {
    split: [*names[:4], *names[-2:]] for split, names in split_characters("vinyals", 0).items()
}
STEMS = ("images_background", "images_evaluation")


def drawings(stem: str, characters: list[str]) -> dict[str, bytes]:
    background = {alphabet_of(one) for one in every_character("background")}
    chosen = [one for one in characters if (alphabet_of(one) in background) == (stem == "images_background")]
    return {
        f"{stem}/{one}/{1000 + c:04d}_{d + 1:02d}.png": png(noise(sum(one.encode()) * 100 + c * 10 + d, 21, 1), "1")
        for c, one in enumerate(chosen)
        for d in range(DRAWINGS)
    }


def archives(folder: Path) -> Path:
    characters = [one for names in SOME.values() for one in names]
    for stem in STEMS:
        zipped(folder / f"{stem}.zip", drawings(stem, characters))
    return folder


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    archives(tmp_path / "data" / "omniglot")
    return DataPaths(tmp_path / "data", tmp_path / "cache")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        omniglot, "FILES", replace(omniglot.FILES, url="http://127.0.0.1:9/")
    )  # the discard port: nobody answers


def test_published_lists() -> None:
    sizes = {name: [len(split_characters(name, 0)[s]) for s in SPLITS] for name in ("vinyals", "lake", "random1200")}
    assert sizes == {"vinyals": [1028, 172, 423], "lake": [792, 172, 659], "random1200": [1100, 100, 423]}
    for name in sizes:
        everything = [one for names in split_characters(name, 0).values() for one in names]
        assert len(everything) == len(set(everything)) == 1623
    lake = {split: {one.split("/")[0] for one in names} for split, names in split_characters("lake", 0).items()}
    assert lake["val"] == set(VALIDATION_ALPHABETS) and len(lake["train"]) == 25 and len(lake["test"]) == 20
    assert not lake["train"] & lake["test"]
    assert split_characters("random1200", 0) != split_characters("random1200", 1)
    assert split_characters("random1200", 0)["train"][0] == "Tifinagh/character07"  # the same on every machine


def test_what_is_present_is_counted(paths: DataPaths) -> None:
    source = Omniglot(paths=paths)
    assert source.facts["classes"] == {"train": 6, "val": 6, "test": 6}
    assert source.facts["classes_listed"] == {"train": 1028, "val": 172, "test": 423}
    assert [source.class_count(split) for split in SPLITS] == [24, 24, 24]
    assert source.input_shape == (1, 28, 28)
    assert source.preprocessing["polarity"] == "ink is 1, paper is 0"
    assert crossings(source) == []
    assert {name.split("@")[0] for name in source.class_names("test")} == set(SOME["test"])


def test_rotations_are_classes_where_asked(paths: DataPaths) -> None:
    counts = {
        rotations: [Omniglot(paths=paths, rotations=rotations).class_count(split) for split in SPLITS]
        for rotations in ("all", "train", "none")
    }
    assert counts == {"all": [24, 24, 24], "train": [24, 6, 6], "none": [6, 6, 6]}


@pytest.mark.parametrize("rotations", ["all", "none"])
def test_alphabets_are_left_out_of_every_split_and_of_the_counts(paths: DataPaths, rotations: Any) -> None:
    whole = Omniglot(paths=paths, rotations=rotations)
    gone = [alphabet_of(SOME["train"][0]), alphabet_of(SOME["val"][-1])]
    fewer = Omniglot(paths=paths, rotations=rotations, without=gone)
    for split in SPLITS:
        kept = [name for name in whole.class_names(split) if alphabet_of(name) not in gone]
        assert list(fewer.class_names(split)) == kept
        assert fewer.facts["classes"][split] * (4 if rotations == "all" else 1) == len(kept) == fewer.class_count(split)
        listed = [one for one in split_characters("vinyals", 0)[split] if alphabet_of(one) not in gone]
        assert fewer.facts["classes_listed"][split] == len(listed)
    assert fewer.class_count("train") < whole.class_count("train")
    assert fewer.facts["without"] == sorted(gone) and "without" not in whole.facts
    assert fewer.fingerprint != whole.fingerprint
    assert fewer.split_fingerprint("train") != whole.split_fingerprint("train")
    assert fewer.split_fingerprint("test") == whole.split_fingerprint("test")  # the same episodes: it has none of them


@pytest.mark.parametrize("without", [None, []])
def test_nothing_left_out_is_the_data_as_it_was(paths: DataPaths, without: list[str] | None) -> None:
    assert Omniglot(paths=paths, without=without).fingerprint == Omniglot(paths=paths).fingerprint


def test_alphabets_of_the_test_split_are_left_out_too(paths: DataPaths) -> None:
    gone = alphabet_of(SOME["test"][0])
    fewer = Omniglot(paths=paths, without=[gone])
    assert fewer.class_count("test") < 24 and gone not in {alphabet_of(name) for name in fewer.class_names("test")}


def test_fewer_labels_are_drawn_from_what_is_left(paths: DataPaths) -> None:
    gone = alphabet_of(SOME["train"][0])
    with pytest.raises(UsageError, match=r"there are \d+ training examples"):
        Omniglot(paths=paths, without=[gone], labels=6 * DRAWINGS)


def test_a_zip_and_its_folder_hold_the_same(paths: DataPaths, tmp_path: Path) -> None:
    characters = [one for names in SOME.values() for one in names]
    for stem in STEMS:
        unpacked(tmp_path / "plain", drawings(stem, characters))
    first = Omniglot(paths=paths)
    second = Omniglot(paths=DataPaths(None, tmp_path / "cache"), root=str(tmp_path / "plain"))
    for split in SPLITS:
        assert first.class_names(split) == second.class_names(split)
        assert (first.gather(first.items(split)) == second.gather(second.items(split))).all()


def test_archives_directly_under_paths_data_are_found(tmp_path: Path) -> None:
    archives(tmp_path / "data")
    assert Omniglot(paths=DataPaths(tmp_path / "data", tmp_path / "cache")).facts["classes"]["test"] == 6


def test_offline_says_what_is_missing_and_where_to_put_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(MetamtlError) as caught:
        Omniglot(paths=DataPaths(tmp_path / "data", tmp_path / "cache"))
    for part in ("images_background.zip", "http://127.0.0.1:9/", str(tmp_path / "data" / "omniglot"), "paths.data"):
        assert part in str(caught.value)
    with pytest.raises(UsageError, match="is no folder"):
        Omniglot(paths=DataPaths(None, tmp_path), root=str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("cats/1.png", "has no member such as"),
        ("images_background/Klingon/character01/0001_01.png", "'Klingon/character01' is none of"),
    ],
)
def test_what_is_not_omniglot_is_refused(tmp_path: Path, member: str, reason: str) -> None:
    for stem in STEMS:
        zipped(tmp_path / f"{stem}.zip", {member: png(noise(1))})
    with pytest.raises(MetamtlError, match=reason):
        Omniglot(paths=DataPaths(tmp_path, tmp_path / "cache"))


def test_overlapping_splits_are_refused(paths: DataPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        omniglot, "split_characters", lambda split, seed: {**SOME, "test": [*SOME["test"], SOME["train"][0]]}
    )
    with pytest.raises(MetamtlError, match="in two splits"):
        Omniglot(paths=paths)


def test_the_check_sees_a_drawing_that_crosses_turned(paths: DataPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaking(*arguments: Any) -> Packed:
        packed = really_pack(*arguments)
        x = np.array(packed.x)
        train, test = (packed.classes.index(SOME[split][0]) for split in ("train", "test"))
        x[packed.offsets[test]] = np.rot90(x[packed.offsets[train]], axes=(-2, -1))
        return replace(packed, x=x)

    monkeypatch.setattr(omniglot, "pack", leaking)
    found = crossings(Omniglot(paths=paths))
    assert found == [f"{SOME['train'][0]} in train and {SOME['test'][0]} in test share an image"]


@pytest.mark.parametrize("split", ["vinyals", "lake", "random1200"])
def test_the_real_drawings(tmp_path_factory: pytest.TempPathFactory, split: Any) -> None:
    cache = tmp_path_factory.getbasetemp() / "omniglot-cache"  # one pack for the three
    source = Omniglot(paths=DataPaths(real("omniglot").parent, cache), split=split)
    assert crossings(source) == []
    listed, present = source.facts["classes_listed"], source.facts["classes"]
    assert sum(present.values()) >= 1479 and all(present[part] <= listed[part] for part in SPLITS)
    if split == "vinyals":
        assert (present["train"], present["val"]) == (1028, 172) and present["test"] >= 279
        assert source.class_count("train") == 4112
        lines = (real("omniglot") / "splits" / "vinyals" / "test.txt").read_text().split()
        assert {name.split("@")[0] for name in source.class_names("test")} <= {
            line.rpartition("/")[0] for line in lines
        }
    assert all((np.bincount(source.labels(source.items(part))) == 20).all() for part in SPLITS)
    ink = source.gather(source.items("test")[:400]).mean() / 255
    assert 0.02 < ink < 0.2  # ink is the rare colour
