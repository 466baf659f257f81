import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl.data import cifar_fs
from metamtl.data.cifar_fs import CifarFS, split_classes
from metamtl.data.source import DataPaths, Split
from metamtl.errors import MetamtlError
from tests.data.image_files import crossings, noise, png, real, unpacked, with_copies, zipped

SPLITS: tuple[Split, ...] = ("train", "val", "test")
FINE = sorted(name for names in split_classes().values() for name in names)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar_fs, "URL", "http://127.0.0.1:9/cifar-100-python.tar.gz")


def pixels(fine: int, example: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return noise(100 * fine + example, 32)


def part_zips(folder: Path, classes: int = 3, images: int = 2) -> Path:
    for split, names in split_classes().items():
        files = {
            f"{name}/{i}.png": png(pixels(FINE.index(name), i)) for name in list(names)[:classes] for i in range(images)
        }
        zipped(folder / f"cifar_fs_{split}.zip", files)
    return folder


def official(folder: Path, names: list[str] = FINE) -> dict[str, bytes]:
    """A made archive of the official form: 2 training images and 1 test image of each class."""
    made = {}
    for part, examples in (("train", (0, 1)), ("test", (2,))):
        order = np.random.default_rng(0).permutation([(f, e) for f in range(100) for e in examples])
        data = np.stack([pixels(f, e).transpose(2, 0, 1).reshape(-1) for f, e in order])
        made[f"cifar-100-python/{part}"] = pickle.dumps(
            {"data": data, "fine_labels": [int(f) for f, _ in order], "filenames": ["x"] * len(order)}, protocol=4
        )
    made["cifar-100-python/meta"] = pickle.dumps({"fine_label_names": names, "coarse_label_names": []}, protocol=4)
    return made


def tarred(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


@pytest.mark.parametrize("form", ["tar", "folder"])
def test_the_official_files(tmp_path: Path, form: str) -> None:
    if form == "tar":
        tarred(tmp_path / "cifar100" / "cifar-100-python.tar.gz", official(tmp_path))
    else:
        unpacked(tmp_path / "cifar100", official(tmp_path))
    source = CifarFS(paths=DataPaths(tmp_path, tmp_path / "cache"))
    assert [source.class_count(split) for split in SPLITS] == [64, 16, 20]
    assert source.facts["examples_per_class"] == [3, 3]
    assert crossings(source) == []
    for split in SPLITS:
        assert set(source.class_names(split)) == set(split_classes()[split])
        items = source.items(split)
        for image, label in zip(source.gather(items), source.labels(items), strict=True):
            fine = FINE.index(source.class_names(split)[label])
            assert any((image == pixels(fine, e).transpose(2, 0, 1)).all() for e in range(3))


def test_the_archives_of_the_splits(tmp_path: Path) -> None:
    part_zips(tmp_path / "cifar100")
    source = CifarFS(paths=DataPaths(tmp_path, tmp_path / "cache"))
    assert source.facts["classes"] == {"train": 3, "val": 3, "test": 3}
    assert source.facts["classes_listed"] == {"train": 64, "val": 16, "test": 20}
    assert source.facts["examples_per_class"] == [2, 2]
    assert source.input_shape == (3, 32, 32)
    assert crossings(source) == []
    rooted = CifarFS(paths=DataPaths(None, tmp_path / "cache"), root=str(tmp_path / "cifar100"))
    assert rooted.fingerprint == source.fingerprint


def test_a_class_in_the_archive_of_another_split_is_refused(tmp_path: Path) -> None:
    part_zips(tmp_path)
    zipped(tmp_path / "cifar_fs_train.zip", {f"{next(iter(split_classes()['test']))}/1.png": png(noise(1, 32))})
    with pytest.raises(MetamtlError, match="which is not in the train split"):
        CifarFS(paths=DataPaths(tmp_path, tmp_path / "cache"))


def test_a_photograph_under_two_labels_stays_with_the_later_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part_zips(tmp_path)
    shared = png(noise(77, 32))
    train, test = (next(iter(split_classes()[split])) for split in ("train", "test"))
    for split, name in (("train", train), ("test", test)):
        files = {f"{name}/{i}.png": png(noise(1000 * len(split) + i, 32)) for i in range(2)}
        zipped(tmp_path / f"cifar_fs_{split}.zip", {**files, f"{name}/shared.png": shared})
    source = CifarFS(paths=DataPaths(tmp_path, tmp_path / "cache"))
    assert crossings(source) == []
    sizes = {split: len(source.items(split)) for split in ("train", "test")}
    assert sizes == {"train": 2, "test": 3} and source.facts["copies"] == 1
    monkeypatch.setattr(cifar_fs, "without_copies", with_copies)
    leaking = CifarFS(paths=DataPaths(tmp_path, tmp_path / "another cache"))
    assert crossings(leaking) == [f"{train} in train and {test} in test share an image"]


def test_what_is_not_cifar_is_refused(tmp_path: Path) -> None:
    made = official(tmp_path)
    for name, files, reason in (
        ("a", {"cifar-100-python/meta": made["cifar-100-python/meta"]}, "no member 'train'"),
        ("b", official(tmp_path, ["cat"] * 100), "not the 100 known"),
        ("c", {**made, "cifar-100-python/train": pickle.dumps({}, protocol=4)}, "does not look like CIFAR-100"),
    ):
        tarred(tmp_path / name / "cifar-100-python.tar.gz", files)
        with pytest.raises(MetamtlError, match=reason):
            CifarFS(paths=DataPaths(tmp_path / name, tmp_path / "cache"))


def test_offline_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MetamtlError, match=r"cifar-100-python\.tar\.gz is missing and could not be downloaded"):
        CifarFS(paths=DataPaths(tmp_path, tmp_path / "cache"))


def test_the_real_photographs(tmp_path: Path) -> None:
    source = CifarFS(paths=DataPaths(real("cifar100").parent, tmp_path))
    assert [source.class_count(split) for split in SPLITS] == [64, 16, 20]
    assert crossings(source) == []
    groups = {split: set(split_classes()[split].values()) for split in SPLITS}
    assert all(groups.values())
    x = source.gather(source.items("train")) / 255
    assert np.allclose(x.mean((0, 2, 3)), cifar_fs.MEAN, atol=0.01)
    assert np.allclose(x.std((0, 2, 3)), cifar_fs.STD, atol=0.01)
