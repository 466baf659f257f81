import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from metamtl.data import folder
from metamtl.data.folder import Folder
from metamtl.data.source import DataPaths, Split, TaskShape
from metamtl.errors import MetamtlError, UsageError
from tests.data.image_files import class_folders, crossings, noise, png, real, unpacked, with_copies, zipped

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


def leaking() -> dict[str, dict[str, bytes]]:
    """One image in train and test, another in val and test, and all of class 2 of train in val."""
    files = parts()
    files["test"]["class 8/copy.png"] = files["train"]["class 1/0.png"]
    files["test"]["class 9/copy.png"] = files["val"]["class 5/2.png"]
    files["val"] |= {f"class 6/copy {i}.png": files["train"][f"class 2/{i}.png"] for i in range(3)}
    return files


@pytest.mark.parametrize("split", ["subfolder", "list"])
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_an_image_of_two_splits_stays_with_the_later_one(
    make: Callable[..., Folder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str, form: str
) -> None:
    inside = {
        f"{part}/{name}" if split == "subfolder" else name: data
        for part, some in leaking().items()
        for name, data in some.items()
    }
    lists = {part: sorted({name.split("/")[0] for name in some}) for part, some in leaking().items()}
    (tmp_path / "lists.json").write_text(json.dumps(lists))
    root = unpacked(tmp_path / "mine", inside) if form == "folder" else zipped(tmp_path / "mine.zip", inside)
    options = {"root": str(root), "split": split, "lists": str(tmp_path / "lists.json"), "rotations": "all"}
    for _ in range(2):  # packed, and found packed
        source = make(**options)
        assert crossings(source) == []
        assert source.facts["copies"] == 5 and source.facts["images_skipped"] == 0
        assert [len(source.items(part)) // 4 for part in SPLITS] == [15 - 1 - 3, 6 + 3 - 1, 9 + 2]
        assert counts(source) == [4, 2, 3]  # nothing is left of class 2
    monkeypatch.setattr(folder, "without_copies", with_copies)
    assert len(crossings(make(**options, on_bad="skip"))) == 5


def test_classes_that_change_their_split_are_packed_anew(make: Callable[..., Folder], tmp_path: Path) -> None:
    files = class_folders(NAMES)
    files["class 1/copy.png"] = files["class 0/0.png"]
    root = unpacked(tmp_path / "mine", files)
    for train, test, kept in ((0, 1, [2, 4]), (1, 0, [3, 3])):
        lists = {"train": [f"class {train}"], "test": [f"class {test}"]}
        (tmp_path / "lists.json").write_text(json.dumps(lists))
        source = make(root=str(root), split="list", lists=str(tmp_path / "lists.json"))
        assert [len(source.items(split)) for split in ("train", "test")] == kept
    drawn = [make(root=str(root), seed=seed) for seed in range(6)]
    copies = [int(sum({"class 0", "class 1"} & {*one.class_names(s)} != set() for s in SPLITS) > 1) for one in drawn]
    assert [one.facts["copies"] for one in drawn] == copies and set(copies) == {0, 1}


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


@pytest.mark.parametrize(
    ("name", "size", "images", "copies"), [("caltech101_84", 84, 6198, 0), ("cifar100", 32, None, 4)]
)
def test_the_real_folders_as_they_are(
    make: Callable[..., Folder], name: str, size: int, images: int | None, copies: int
) -> None:
    source = make(root=str(real(name)), split="subfolder", size=size)
    assert counts(source) == [64, 16, 20]
    assert crossings(source) == []
    assert source.facts["copies"] == copies  # CIFAR-100 has some photographs under two labels
    if images is not None:
        assert sum(len(source.items(split)) for split in SPLITS) == images
