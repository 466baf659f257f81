import csv
from pathlib import Path

import pytest

from metamtl.data import mini_imagenet
from metamtl.data.mini_imagenet import MiniImageNet
from metamtl.data.places import published
from metamtl.data.source import DataPaths, Split
from metamtl.errors import MetamtlError
from tests.data.image_files import crossings, noise, png, real, unpacked, with_copies, zipped

SPLITS: tuple[Split, ...] = ("train", "val", "test")
LISTS: dict[Split, dict[str, str]] = published("mini_imagenet_ravi.json")
SOME = {split: list(names)[:2] for split, names in LISTS.items()}


def images(form: str) -> dict[str, bytes]:
    chosen = [(name, i) for names in SOME.values() for name in names for i in range(3)]
    return {form.format(id=name, n=i): png(noise(1000 * c + i)) for c, (name, i) in enumerate(chosen)}


FORMS = ["images/{id}{n:08d}.jpg", "{id}/{id}_{n}.JPEG", "train/{id}/picture{n}.jpg", "{id}{n:08d}.jpg"]


@pytest.mark.parametrize("form", FORMS)
def test_layouts(tmp_path: Path, form: str) -> None:
    zipped(tmp_path / "mini_imagenet.zip", {**images(form), "images/n9999999900000001.jpg": b"", "README.txt": b"x"})
    source = MiniImageNet(paths=DataPaths(tmp_path, tmp_path / "cache"), size=16)
    assert source.facts["classes"] == {"train": 2, "val": 2, "test": 2}
    assert source.facts["classes_listed"] == {"train": 64, "val": 16, "test": 20}
    assert source.facts["files_ignored"] == 2
    assert source.facts["classes_with_published_files"] == 0
    assert source.input_shape == (3, 16, 16)
    assert {split: sorted(source.class_names(split)) for split in SPLITS} == {s: sorted(SOME[s]) for s in SPLITS}
    assert crossings(source) == []


def test_a_folder_by_root(tmp_path: Path) -> None:
    unpacked(tmp_path / "mine", images(FORMS[0]))
    source = MiniImageNet(paths=DataPaths(None, tmp_path / "cache"), root=str(tmp_path / "mine"))
    assert source.input_shape == (3, 84, 84)
    zipped(tmp_path / "other.zip", images(FORMS[0]))
    again = MiniImageNet(paths=DataPaths(None, tmp_path / "cache"), root=str(tmp_path / "other.zip"))
    assert again.class_names("test") == source.class_names("test")


def test_missing_says_why_there_is_no_download(tmp_path: Path) -> None:
    with pytest.raises(MetamtlError, match="terms forbid") as caught:
        MiniImageNet(paths=DataPaths(tmp_path, tmp_path / "cache"))
    assert "image-net.org" in str(caught.value) and str(tmp_path / "mini_imagenet") in str(caught.value)
    unpacked(tmp_path / "cats", {"cats/1.png": png(noise(1))})
    with pytest.raises(MetamtlError, match="has no image of miniImageNet"):
        MiniImageNet(paths=DataPaths(None, tmp_path / "cache"), root=str(tmp_path / "cats"))


def test_one_image_in_two_places_is_refused(tmp_path: Path) -> None:
    files = {**images("images/{id}{n:08d}.jpg"), **images("{id}/{id}{n:08d}.jpg")}
    unpacked(tmp_path / "mini_imagenet", files)
    with pytest.raises(MetamtlError, match="2 times"):
        MiniImageNet(paths=DataPaths(tmp_path, tmp_path / "cache"))


def test_copies_stay_with_the_later_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = images(FORMS[0])
    train, test = SOME["train"][0], SOME["test"][0]
    files[f"images/{train}{9:08d}.jpg"] = files[f"images/{test}{0:08d}.jpg"]
    unpacked(tmp_path / "mini_imagenet", files)
    source = MiniImageNet(paths=DataPaths(tmp_path, tmp_path / "cache"))
    assert crossings(source) == [] and source.facts["copies"] == 1
    monkeypatch.setattr(mini_imagenet, "without_copies", with_copies)
    leaking = MiniImageNet(paths=DataPaths(tmp_path, tmp_path / "another cache"))
    assert crossings(leaking) == [f"{train} in train and {test} in test share an image"]


def test_the_published_names(tmp_path: Path) -> None:
    folder = real("fewshot_splits") / "miniimagenet_ravi"
    rows: dict[str, list[str]] = {}
    for split in SPLITS:
        with (folder / f"{split}.csv").open() as stream:
            found = [(row["label"], row["filename"]) for row in csv.DictReader(stream)]
        assert {label for label, _ in found} == set(LISTS[split])
        for label, file in found:
            rows.setdefault(label, []).append(file)
    few = {label: files[:3] for label, files in rows.items()}
    few[SOME["val"][0]] = rows[SOME["val"][0]]  # one class whole: its names are recognised
    made = {f"images/{file}": png(noise(int(file[1:17]) % 2**31)) for files in few.values() for file in files}
    zipped(tmp_path / "mini_imagenet.zip", made)
    source = MiniImageNet(paths=DataPaths(tmp_path, tmp_path / "cache"), size=8)
    assert [source.class_count(split) for split in SPLITS] == [64, 16, 20]
    assert source.facts["classes_with_published_files"] == 1
    assert source.facts["examples_per_class"] == [3, 600]
    assert crossings(source) == []
