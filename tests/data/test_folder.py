import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from metamtl.data.folder import Folder
from metamtl.data.source import DataPaths, Split, TaskShape
from metamtl.errors import MetamtlError, UsageError
from tests.data.image_files import class_folders, crossings, noise, png, real, unpacked, zipped

SPLITS: tuple[Split, ...] = ("train", "val", "test")
NAMES = [f"class {c}" for c in range(10)]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Folder]:
    return lambda **keys: Folder(paths=DataPaths(None, tmp_path / "cache"), **{"size": 8, **keys})


def counts(source: Folder) -> list[int]:
    return [source.facts["classes"].get(split, 0) for split in SPLITS]


def test_a_root_is_needed(make: Callable[..., Folder], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"needs data\.root=PATH"):
        make()
    with pytest.raises(UsageError, match="does not exist"):
        make(root=str(tmp_path / "absent"))
    unpacked(tmp_path / "flat", {"1.png": png(noise(1))})
    with pytest.raises(MetamtlError, match="no class folders"):
        make(root=str(tmp_path / "flat"))


def test_ratio(make: Callable[..., Folder], tmp_path: Path) -> None:
    root = unpacked(tmp_path / "mine", {**class_folders(NAMES), "notes.txt": b"x", "class 0/.DS_Store": b"x"})
    source = make(root=str(root), ratios=[0.6, 0.2, 0.2])
    assert counts(source) == [6, 2, 2]
    assert source.facts["files_ignored"] == 2 and source.facts["images_skipped"] == 0
    assert source.input_shape == (3, 8, 8)
    assert crossings(source) == []
    assert source.class_names("test") == make(root=str(root)).class_names("test")
    assert source.class_names("test") != make(root=str(root), seed=1).class_names("test")
    for wrong in ([0.5, 0.5], [0.5, 0.5, 0.5], [1.2, -0.1, -0.1]):
        with pytest.raises(UsageError, match=r"data\.ratios"):
            make(root=str(root), ratios=wrong)


def test_a_folder_and_its_zips_are_one_data_set_with_the_same_episodes(
    make: Callable[..., Folder], tmp_path: Path
) -> None:
    files = class_folders(NAMES)
    top = {f"mine/{name}": data for name, data in files.items()}
    roots = [
        unpacked(tmp_path / "mine", files),
        zipped(tmp_path / "mine.zip", top),
        zipped(tmp_path / "again.zip", reversed(top.items())),
    ]
    first, *others = [make(root=str(root)) for root in roots]
    assert len(list((tmp_path / "cache" / "folder").glob("*/index.json"))) == 3
    for other in others:
        assert other.fingerprint == first.fingerprint
        for split in SPLITS:
            assert first.class_names(split) == other.class_names(split)
            [ours], [theirs] = (one.episodes(split, TaskShape(2, 1, 2), np.arange(9), 5) for one in (first, other))
            assert (ours.support_x == theirs.support_x).all() and (ours.query_x == theirs.query_x).all()


def test_lists(make: Callable[..., Folder], tmp_path: Path) -> None:
    root = unpacked(tmp_path / "mine", class_folders(NAMES))
    lists = {"train": NAMES[:4], "val": NAMES[4:5], "test": NAMES[5:8]}
    (tmp_path / "lists.json").write_text(json.dumps(lists))
    texts = {f"{split}.txt": "\n".join(names).encode() + b"\n\n" for split, names in lists.items()}
    for place in (tmp_path / "lists.json", unpacked(tmp_path / "lists", texts)):
        source = make(root=str(root), split="list", lists=str(place))
        assert {split: list(source.class_names(split)) for split in SPLITS} == lists
        assert source.facts["classes_in_no_split"] == 2
        assert crossings(source) == []
    for wrong, reason in (
        ({**lists, "test": ["class 99"]}, "'class 99'"),
        ({**lists, "test": NAMES[:1]}, "in train and in test"),
        ({"train": NAMES}, "cannot be read"),
        (["class 0"], "cannot be read"),
    ):
        (tmp_path / "wrong.json").write_text(json.dumps(wrong))
        with pytest.raises(UsageError, match=reason):
            make(root=str(root), split="list", lists=str(tmp_path / "wrong.json"))
    with pytest.raises(UsageError, match=r"needs data\.lists"):
        make(root=str(root), split="list")


def parts() -> dict[str, dict[str, bytes]]:
    return {
        "train": class_folders(NAMES[:5], seed=1),
        "val": class_folders(NAMES[5:7], seed=20_000),
        "test": class_folders(NAMES[7:], seed=40_000),
    }


def test_subfolders(make: Callable[..., Folder], tmp_path: Path) -> None:
    named = {"train": "train", "val": "valid", "test": "test"}
    inside = {f"{named[s]}/{name}": data for s, files in parts().items() for name, data in files.items()}
    roots = [unpacked(tmp_path / "folders", inside), zipped(tmp_path / "all.zip", inside), tmp_path / "zips"]
    for split, files in parts().items():
        zipped(tmp_path / "zips" / f"mine_{split}.zip", files)
        text = "\n".join({name.split("/")[0] for name in files}).encode()
        unpacked(tmp_path / "zips" / "splits", {f"{split}.txt": text})
    for root in roots:
        source = make(root=str(root), split="subfolder")
        assert counts(source) == [5, 2, 3], root
        assert set(source.class_names("test")) == set(NAMES[7:])
        assert crossings(source) == []
    (tmp_path / "zips" / "splits" / "test.txt").write_text("class 7\nclass 8\n")
    with pytest.raises(MetamtlError, match="disagree about the class 'class 9'"):
        make(root=str(tmp_path / "zips"), split="subfolder")


def test_a_class_in_two_subfolders_is_refused(make: Callable[..., Folder], tmp_path: Path) -> None:
    root = unpacked(tmp_path / "mine", {f"{s}/{n}": d for s in SPLITS for n, d in class_folders(NAMES).items()})
    for place in (
        root,
        zipped(tmp_path / "mine.zip", {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*.png")}),
    ):
        with pytest.raises(UsageError, match="'class 0' in train and in val"):
            make(root=str(place), split="subfolder")
    with pytest.raises(UsageError, match="train is missing"):
        make(root=str(root / "train"), split="subfolder")


def test_the_check_sees_an_image_that_crosses(make: Callable[..., Folder], tmp_path: Path) -> None:
    files = parts()
    files["test"]["class 8/copy.png"] = files["train"]["class 1/0.png"]
    inside = {f"{split}/{name}": data for split, some in files.items() for name, data in some.items()}
    source = make(root=str(unpacked(tmp_path / "mine", inside)), split="subfolder")
    assert crossings(source) == ["class 1 in train and class 8 in test share an image"]


def test_bad_images(make: Callable[..., Folder], tmp_path: Path) -> None:
    root = unpacked(tmp_path / "mine", {**class_folders(NAMES), "class 3/bad.png": b"not an image"})
    with pytest.raises(MetamtlError, match=r"class 3/bad\.png cannot be read"):
        make(root=str(root))
    source = make(root=str(root), on_bad="skip")
    assert source.facts["images_skipped"] == 1
    assert sum(len(source.items(split)) for split in SPLITS) == 30


def test_channels_ink_and_scaling(make: Callable[..., Folder], tmp_path: Path) -> None:
    root = unpacked(tmp_path / "mine", class_folders(NAMES, channels=1))
    plain = make(root=str(root), channels="grey")
    inked = make(root=str(root), channels="grey", invert=True, mean=[0.5], std=[0.25])
    items = plain.items("train")
    assert (plain.gather(items) == 255 - inked.gather(items)).all()
    assert inked.preprocessing["mean"] == [0.5] and inked.preprocessing["std"] == [0.25]
    assert make(root=str(root), size=20).input_shape == (3, 20, 20)
    for wrong in ({"mean": [0.5], "std": [0.5]}, {"mean": [0.5] * 3}, {"mean": [0.5] * 3, "std": [0.5, 0.5, 0.0]}):
        with pytest.raises(UsageError, match=r"data\.(mean|std)"):
            make(root=str(root), **wrong)


def test_parents_are_groups(make: Callable[..., Folder], tmp_path: Path) -> None:
    names = [f"{alphabet}/{letter}" for alphabet in ("Greek", "Latin") for letter in "abcde"]
    root = unpacked(tmp_path / "mine", class_folders(names))
    source = make(root=str(root), ratios=[1, 0, 0], within_group=True)
    shape = TaskShape(ways=3, shots=1, queries=1)
    assert source.problems("train", shape) == []
    for episode in source.index("train", shape, np.arange(20), 0):
        for items in episode.support:
            labels = source.labels(items)
            assert len({source.class_names("train")[label].split("/")[0] for label in labels}) == 1
    assert source.problems("test", shape) != []


@pytest.mark.parametrize(("name", "size", "images"), [("caltech101_84", 84, 6198), ("cifar100", 32, None)])
def test_the_real_folders_as_they_are(make: Callable[..., Folder], name: str, size: int, images: int | None) -> None:
    source = make(root=str(real(name)), split="subfolder", size=size)
    assert counts(source) == [64, 16, 20]
    shared = crossings(source)
    if images is not None:
        assert sum(len(source.items(split)) for split in SPLITS) == images
        assert shared == []
    else:  # CIFAR-100 itself has photographs under two labels, which data=cifar_fs leaves out
        assert all("girl in train and baby in test" in one for one in shared)
