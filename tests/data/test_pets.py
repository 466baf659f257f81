"""Photographs with several labels: the small archive and the official ones, their splits, boxes that are missing."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metamtl.config.compose import compose
from metamtl.data import pet_files, pet_splits
from metamtl.data.dense import Boxes, Segmentation
from metamtl.data.labelled import LabelledClasses, family_of
from metamtl.data.pet_splits import OFFICIAL, breed_of, three_breeds
from metamtl.data.pets import Pets
from metamtl.data.source import DataPaths, Split
from metamtl.errors import MetamtlError
from metamtl.runs.result import read_result
from metamtl.trainer.run import train_run
from tests.data.image_files import noise, png, real, unpacked, zipped

SPLITS: tuple[Split, ...] = ("train", "val", "test")
LISTED = {
    "train": {"Bengal": "1 2 10", "pug": "3"},
    "val": {"Bengal": "3", "pug": "1"},
    "test": {"Bengal": "4", "pug": "2"},
}
NAMES = [f"{breed}_{n}" for of in LISTED.values() for breed, numbers in of.items() for n in numbers.split()]
XML = b"<size><width>40</width><height>30</height></size><xmin>10</xmin><ymin>15</ymin><xmax>30</xmax><ymax>27</ymax>"
BOXED = [name for name in NAMES if name not in ("Bengal_2", "pug_2")]


@pytest.fixture(autouse=True)
def short_list(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "real" not in request.node.name:
        monkeypatch.setattr(pet_splits, "published", lambda name: LISTED)


def jpg(name: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((30, 40, 3), 20 * NAMES.index(name), np.uint8)).save(stream, format="JPEG")
    return stream.getvalue()


def trimap(name: str) -> bytes:
    levels = np.full((30, 40), 2, np.uint8)
    levels[:15, :20] = 1
    levels[15:, 20:] = 3 if NAMES.index(name) % 2 else 1
    return png(levels)


def mini() -> dict[str, bytes]:
    rows = ["name,breed,class_id,species,split,orig_width,orig_height,head_xmin,head_ymin,head_xmax,head_ymax"]
    for name in NAMES:
        box = "0.25,0.5,0.75,0.9" if name in BOXED else ",,,"
        rows.append(f"{name},x,1,x,test,40,30,{box}")
    files = {f"oxford_pets_mini/images/{name}.jpg": jpg(name) for name in NAMES}
    files |= {f"oxford_pets_mini/trimaps/{name}.png": trimap(name) for name in NAMES}
    return {**files, "oxford_pets_mini/labels.csv": "\n".join(rows).encode()}


def official() -> dict[str, bytes]:
    files = {f"images/{name}.jpg": jpg(name) for name in [*NAMES]}
    files |= {f"annotations/trimaps/{name}.png": trimap(name) for name in NAMES}
    return {**files, **{f"annotations/xmls/{name}.xml": XML for name in BOXED}}


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    zipped(tmp_path / "data" / "oxford_pets_mini" / "oxford_pets_mini.zip", mini())
    return DataPaths(tmp_path / "data", tmp_path / "cache")


@pytest.mark.parametrize("target", ["breed", "species", "segmentation", "box"])
def test_all_labels_are_of_the_same_photographs(paths: DataPaths, target: str) -> None:
    source = Pets(paths=paths, target=target, size=16)
    assert source.input_shape == (3, 16, 16)
    assert [len(source.items(split)) for split in SPLITS] == [4, 2, 2]
    everything = np.concatenate([source.items(split) for split in SPLITS])
    assert sorted(everything) == list(range(len(NAMES)))
    levels = {int(np.asarray(source.gather(np.array([item]))).mean() / 20 + 0.5): item for item in everything}
    assert sorted(levels) == list(range(len(NAMES)))  # each photograph tells its name
    for number, item in levels.items():
        name, label = NAMES[number], source.targets(np.array([item]))[0]
        assert next(split for split in SPLITS if item in source.items(split)) == split_of(name)
        if target == "breed":
            assert source.output_names[label] == breed_of(name)
        elif target == "species":
            assert source.output_names[label] == ("cat" if name.startswith("Bengal") else "dog")
        elif target == "segmentation":
            corners = (label[0, 0], label[0, -1], label[-1, -1])
            assert corners == (0, 1, 2 if number % 2 else 0) and label.shape == (16, 16)
        else:
            np.testing.assert_allclose(label, [0.25, 0.5, 0.75, 0.9] if name in BOXED else [np.nan] * 4)


def split_of(name: str) -> str:
    return next(split for split, names in three_breeds().splits.items() if name in names)


def test_official_folders_and_the_small_archive_are_one(paths: DataPaths, tmp_path: Path) -> None:
    other = DataPaths(tmp_path / "other", tmp_path / "cache")
    unpacked(tmp_path / "other" / "oxford-iiit-pet", official())
    for target in ("breed", "segmentation", "box"):
        mine, theirs = (Pets(paths=one, target=target, size=16) for one in (paths, other))
        assert mine.fingerprint == theirs.fingerprint


def test_each_label_has_its_family(paths: DataPaths) -> None:
    made = {target: family_of(Pets(paths=paths, target=target, size=16)) for target in ("breed", "segmentation", "box")}
    assert isinstance(made["breed"], LabelledClasses) and made["breed"].outputs == 2
    assert isinstance(made["segmentation"], Segmentation) and made["segmentation"].size == (16, 16)
    assert isinstance(made["box"], Boxes)


def test_all_four_questions_train_together(paths: DataPaths, tmp_path: Path) -> None:
    """One backbone gives its features to two families, its last map to one, and learns of boxes where there are any."""
    small = ["backbone.width=4", "trainer.steps=2", "trainer.batch_size=3", "trainer.threads=1", "backbone.halvings=2"]
    small += ["trainer.pictures=2"]
    places = [f"paths.{name}={tmp_path / name}" for name in ("data", "cache", "outputs")]
    config = compose(["experiment=multitask/pets", *small, *places])
    run = train_run(config, ["metamtl", "train"])
    assert run is not None
    families = read_result(run)["families"]
    figures = {name: {metric for metric in record["test"] if metric != "loss"} for name, record in families.items()}
    regions, classes = {"iou", "pixel_accuracy"}, {"accuracy", "precision", "recall"}
    assert figures == {"breed": classes, "species": classes, "segmentation": regions, "box": {"iou"}}
    assert families["box"]["test"]["iou"]["episodes"] == 1  # the other photograph has no box


def test_photographs_that_are_nowhere_are_downloaded_by_their_sums(
    paths: DataPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(url: str, target: Path, **options: Any) -> Path:
        asked.append((url, options["md5"]))
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.name.partition(".")[0]
        with tarfile.open(target, "w:gz") as archive:
            for name, data in official().items():
                if name.startswith(part):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
        return target

    monkeypatch.setattr(pet_files, "fetch", fetch)
    (tmp_path / "none").mkdir()
    empty = DataPaths(tmp_path / "none", tmp_path / "cache")
    for target in ("breed", "box"):  # the second time they are there
        assert (
            Pets(paths=empty, target=target, size=16).fingerprint
            == Pets(paths=paths, target=target, size=16).fingerprint
        )
    assert asked == [(f"{pet_files.URL}{name}", md5) for name, md5 in pet_files.MD5.items()]


def all_official(breeds: tuple[str, ...] = ("Bengal", "Sphynx", "pug"), each: int = 20) -> dict[str, bytes]:
    """As the official archives have them: half of each breed in trainval.txt, and boxes of those but one."""
    files: dict[str, bytes] = {}
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    for breed in breeds:
        for number in range(1, each + 1):
            name, part = f"{breed}_{number}", "trainval" if number % 2 else "test"
            lists[part].append(f"{name} {breeds.index(breed) + 1} {1 if breed[0].isupper() else 2} 1")
            files |= {f"images/{name}.jpg": jpg("pug_1"), f"annotations/trimaps/{name}.png": trimap("pug_1")}
            files[f"annotations/trimaps/._{name}.png"] = b"a Mac's shadow"
            if part == "trainval" and number != 3:
                files[f"annotations/xmls/{name}.xml"] = XML
    files |= {f"annotations/{part}.txt": "\n".join(lines).encode() for part, lines in lists.items()}
    head = ["#Image CLASS-ID SPECIES BREED ID", "#ID: 1:37 Class ids"]
    files["annotations/list.txt"] = "\n".join([*head, *lists["trainval"], *lists["test"]]).encode()
    return {**files, "images/Bengal_99.jpg": b"in no list"}


def test_all_breeds_keep_the_published_test_part(tmp_path: Path) -> None:
    zipped(tmp_path / "data" / "oxford_pets_mini.zip", mini())  # which full passes over
    unpacked(tmp_path / "data" / "oxford-iiit-pet", all_official())
    paths = DataPaths(tmp_path / "data", tmp_path / "cache")
    made = {
        target: Pets(paths=paths, target=target, full=True, size=16)
        for target in ("breed", "species", "segmentation", "box")
    }
    breed = made["breed"]
    assert breed.output_names == ("Bengal", "Sphynx", "pug") and breed.facts["split"] == OFFICIAL
    for target, source in made.items():
        assert [len(source.items(split)) for split in SPLITS] == [24, 3, 3 if target == "box" else 30]
        for split in ("train", "val"):  # every question is learnt from the same photographs
            assert np.array_equal(source.items(split), breed.items(split))
    tested = [breed.items("test"), made["box"].items("test")]
    everything = np.concatenate([breed.items("train"), breed.items("val"), *tested])
    assert sorted(everything) == list(range(60))  # boxes are tested on what nothing else sees
    assert list(np.bincount(breed.targets(breed.items("val")))) == [1, 1, 1]
    assert [made["segmentation"].targets(np.array([0])).shape, made["box"].targets(np.array([0])).shape] == [
        (1, 16, 16),
        (1, 4),
    ]
    known = ~np.isnan(made["box"].targets(np.arange(60))).any(1)
    assert known.sum() == 27 and not known[breed.items("test")].any()


def test_all_breeds_are_not_taken_for_three_of_the_same_archive(tmp_path: Path) -> None:
    unpacked(tmp_path / "oxford-iiit-pet", {**all_official(), **official()})
    paths = DataPaths(tmp_path, tmp_path / "cache")
    made = [Pets(paths=paths, target="segmentation", full=full, size=16) for full in (True, False, True)]
    assert [sum(len(source.items(split)) for split in SPLITS) for source in made] == [57, 8, 57]
    assert made[0].fingerprint == made[2].fingerprint


def test_all_four_questions_train_together_on_all_breeds(tmp_path: Path) -> None:
    unpacked(tmp_path / "data" / "oxford-iiit-pet", all_official())
    small = ["backbone.width=4", "trainer.steps=2", "trainer.batch_size=3", "trainer.threads=1", "trainer.pictures=0"]
    places = [f"paths.{name}={tmp_path / name}" for name in ("data", "cache", "outputs")]
    run = train_run(compose(["experiment=multitask/pets", "data.full=true", *small, *places]), ["metamtl", "train"])
    assert run is not None
    families = read_result(run)["families"]
    asked = {"breed": "accuracy", "species": "accuracy", "segmentation": "iou", "box": "iou"}
    counts = {name: families[name]["test"][metric]["episodes"] for name, metric in asked.items()}
    assert counts == {"breed": 30, "species": 30, "segmentation": 30, "box": 3}


def test_a_torn_list_is_refused(tmp_path: Path) -> None:
    unpacked(tmp_path / "oxford-iiit-pet", {**all_official(), "annotations/test.txt": b"pug_2 3 2 1\npug_4\n"})
    with pytest.raises(MetamtlError, match=r"test\.txt, line 2: a name and 3 numbers belong"):
        Pets(paths=DataPaths(tmp_path, tmp_path / "cache"), target="breed", full=True, size=16)


@pytest.mark.parametrize(
    ("target", "file", "content", "said"),
    [
        ("breed", "images/pug_1.jpg", b"nothing", "images/pug_1.jpg cannot be read"),
        ("breed", "images/pug_1.jpg", None, "has no images/pug_1.jpg"),
        ("segmentation", "trimaps/pug_1.png", b"nothing", "trimaps/pug_1.png cannot be read"),
        ("segmentation", "trimaps/pug_1.png", png(noise(0, 16, 1)), "is no trimap"),
        ("box", "labels.csv", b"name,head_xmin\npug_1,one\n", "labels.csv has no boxes"),
    ],
)
def test_a_damaged_archive_is_refused(tmp_path: Path, target: str, file: str, content: bytes | None, said: str) -> None:
    files: dict[str, Any] = {**mini(), f"oxford_pets_mini/{file}": content}
    zipped(tmp_path / "oxford_pets_mini.zip", {name: data for name, data in files.items() if data is not None})
    with pytest.raises(MetamtlError, match=said):
        Pets(paths=DataPaths(tmp_path, tmp_path / "cache"), target=target, size=16)


def test_real_photographs_have_the_published_counts(tmp_path: Path) -> None:
    paths = DataPaths(real("oxford_pets_mini").parent, tmp_path)
    boxes, breeds = (Pets(paths=paths, target=target, size=16) for target in ("box", "breed"))
    assert [len(boxes.items(split)) for split in SPLITS] == [358, 120, 120]
    there = {split: ~np.isnan(boxes.targets(boxes.items(split))).any(1) for split in SPLITS}
    assert [int(there[split].sum()) for split in SPLITS] == [176, 60, 60]  # 296 in all
    assert list(np.bincount(breeds.targets(np.arange(598)))) == [198, 200, 200]
    corners = boxes.targets(np.arange(598))
    known = corners[~np.isnan(corners).any(1)]
    assert (known[:, :2] < known[:, 2:]).all() and (known >= 0).all() and (known <= 1).all()
    assert len(np.unique(np.asarray(boxes.gather(np.arange(598))).reshape(598, -1), axis=0)) == 598
