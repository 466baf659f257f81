"""Domains of digits: the files of four sets at one size, their splits, and what is made of them."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metamtl.data import digit_files
from metamtl.data.digit_domain import DigitDomain, noisy
from metamtl.data.idx import read_idx
from metamtl.data.source import DataPaths, Split
from metamtl.errors import MetamtlError, UsageError
from tests.data import digit_made
from tests.data.image_files import real

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def opened(paths: DataPaths, **changes: Any) -> DigitDomain:
    plain = {"full": False, "digits": None, "rotate": 0.0, "noise": 0.0, "invert": False, "permute": None}
    options: dict[str, Any] = {"domain": "mnist", "size": 28, "split_seed": 0, **plain, **changes}
    return DigitDomain(paths=paths, **options)


def pictures(source: DigitDomain, split: Split) -> NDArray[Any]:
    x = source.gather(source.items(split))
    assert isinstance(x, np.ndarray)
    return x


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataPaths:
    digit_made.mnist(tmp_path / "data" / "mnist", "t10k", 100)
    digit_made.optdigits(tmp_path / "data" / "optdigits", "tra", 60)
    digit_made.optdigits(tmp_path / "data" / "optdigits", "tes", 20, seed=1)
    digit_made.semeion(tmp_path / "data" / "semeion", 50, official=False)
    return DataPaths(tmp_path / "data", tmp_path / "cache")


@pytest.mark.parametrize(
    ("domain", "counts"),
    [("mnist", [60, 20, 20]), ("optdigits", [50, 10, 20]), ("semeion", [30, 10, 10])],
)
def test_domains_have_one_size_and_disjoint_splits(paths: DataPaths, domain: str, counts: list[int]) -> None:
    source = opened(paths, domain=domain, size=20)
    assert source.input_shape == (1, 20, 20) and source.output_size == 10
    items = [source.items(split) for split in SPLITS]
    assert [len(one) for one in items] == counts
    assert sorted(np.concatenate(items)) == list(range(sum(counts)))
    assert pictures(source, "train").dtype == np.uint8
    again, other = opened(paths, domain=domain, size=20), opened(paths, domain=domain, size=20, split_seed=1)
    assert again.fingerprint == source.fingerprint != other.fingerprint


def test_the_published_test_part_is_the_test_split(paths: DataPaths) -> None:
    train = digit_made.mnist(paths.data / "mnist", "train", 30, seed=7)  # type: ignore[operator]
    test = digit_made.mnist(paths.data / "mnist", "t10k", 20, seed=8)  # type: ignore[operator]
    source = opened(paths, full=True)
    assert np.array_equal(pictures(source, "test")[:, 0], test)
    seen = {picture.tobytes() for split in SPLITS[:2] for picture in pictures(source, split)}
    assert seen == {picture.tobytes() for picture in train}
    writers = opened(paths, domain="optdigits", size=8)
    assert list(writers.items("test")) == list(range(60, 80))


def test_official_and_compact_semeion_are_one(paths: DataPaths) -> None:
    compact = opened(paths, domain="semeion")
    digit_made.semeion(paths.data / "semeion", 50, official=True)  # type: ignore[operator]
    assert opened(paths, domain="semeion").fingerprint == compact.fingerprint


def test_some_digits_leave_the_classes_ten(paths: DataPaths) -> None:
    source = opened(paths, digits=[3, 5])
    for split in SPLITS:
        assert set(source.targets(source.items(split))) <= {3, 5}
    assert source.output_size == 10
    assert opened(paths, digits=[]).problems("train", None) == ["mnist has no examples in its train split."]  # type: ignore[arg-type]


def test_changes_of_pictures(paths: DataPaths) -> None:
    plain = pictures(opened(paths), "train")
    inverted = opened(paths, invert=True)
    assert np.array_equal(pictures(inverted, "train"), 255 - plain)
    assert inverted.name == "mnist-inverted" and inverted.preprocessing["polarity"] == "as in the files"
    turned = pictures(opened(paths, rotate=90.0), "train")
    assert np.array_equal(turned, np.rot90(plain, axes=(-2, -1)))


def test_noise_has_the_deviation_asked_for_and_is_each_pictures_own() -> None:
    grey = np.full((1200, 8, 8), 128, dtype=np.uint8)
    changed = noisy(grey, 0.1, key=3)
    drawn = (changed.astype(float) - 128) / 255
    assert abs(drawn.mean()) < 0.002 and abs(drawn.std() - 0.1) < 0.002
    assert len(np.unique(changed.reshape(1200, -1), axis=0)) == 1200
    assert np.array_equal(noisy(grey[:5], 0.1, key=3), changed[:5])  # whatever other pictures there are
    assert np.array_equal(noisy(np.full((2, 8, 8), 255, np.uint8), 1e-9, 3), np.full((2, 8, 8), 255))


def test_one_permutation_for_all_pictures(paths: DataPaths) -> None:
    plain, permuted, other = (pictures(opened(paths, permute=seed), "train") for seed in (None, 4, 5))
    assert not np.array_equal(permuted, plain) and not np.array_equal(permuted, other)
    columns = {column.tobytes(): place for place, column in enumerate(plain.reshape(len(plain), -1).T.copy())}
    moved = [columns[column.tobytes()] for column in permuted.reshape(len(plain), -1).T.copy()]
    assert sorted(moved) == list(range(28 * 28))


@pytest.mark.parametrize("domain", ["optdigits", "semeion"])
def test_files_without_a_published_sum_are_asked_for(tmp_path: Path, domain: str) -> None:
    with pytest.raises(UsageError, match=rf"data\.domain={domain} needs .* get https://archive\.ics\.uci\.edu"):
        opened(DataPaths(tmp_path, tmp_path), domain=domain)


@pytest.mark.parametrize("domain", ["mnist", "fashion_mnist"])
def test_the_files_that_one_is_told_to_get_are_those_that_are_published(domain: str) -> None:
    named = re.findall(r"(?:t10k|train)[\w.-]+", digit_files.missing(domain))
    assert sorted(named) == sorted(f"{stem}.gz" for stem in digit_files.PUBLISHED[domain].md5)


def test_mnist_that_is_nowhere_is_downloaded_by_its_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(url: str, target: Path, **options: Any) -> Path:
        asked.append((url, options["md5"]))
        digit_made.mnist(target.parent, "t10k", 20)
        return target

    monkeypatch.setattr(digit_files, "fetch", fetch)
    (tmp_path / "data").mkdir()
    opened(DataPaths(tmp_path / "data", tmp_path / "cache"))
    images = "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz"
    assert asked == [(images, "9fb629c4189551a2d022fa330f9573f3")]  # the labels' file was there by then
    assert (tmp_path / "data" / "mnist" / "t10k-images-idx3-ubyte.gz").is_file()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no IDX file or is damaged"),
        (b"\0\0\x0d\x01" + bytes(20), "unsigned bytes on 1 axes"),
        (digit_made.idx(np.zeros(7, np.uint8))[:-1], "fewer than the 7 bytes"),
        (digit_made.idx(np.zeros(7, np.uint8)) + b"x", "more than the 7 bytes"),
        (gzip.compress(digit_made.idx(np.zeros(999, np.uint8)), mtime=0)[:-12], "is no IDX file or is damaged"),
        (b"\0\0\x08\x01\xff\xff\xff\xff", r"declares 4,294,967,295 bytes"),
    ],
)
def test_a_damaged_idx_file_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(MetamtlError, match=said):
        read_idx(tmp_path / "file", 1)


def test_idx_is_read_plain_and_zipped(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for name, content in (("plain", digit_made.idx(array)), ("zipped", gzip.compress(digit_made.idx(array)))):
        (tmp_path / name).write_bytes(content)
        assert np.array_equal(read_idx(tmp_path / name, 3), array)


@pytest.mark.parametrize(
    ("domain", "name", "text", "said"),
    [
        ("optdigits", "optdigits.tes", "1,2,3\n", "has 3 numbers a line and not 65"),
        ("optdigits", "optdigits.tes", "a,b\n", "is no table of numbers"),
        ("optdigits", "optdigits.tes", ",".join(["17"] * 65) + "\n", "out of range"),
        ("semeion", "semeion.txt", "0101 7\n", "does not have 256 bits and a digit"),
    ],
)
def test_a_damaged_table_is_refused(paths: DataPaths, domain: str, name: str, text: str, said: str) -> None:
    (paths.data / domain / name).write_text(text, encoding="ascii")  # type: ignore[operator]
    with pytest.raises(MetamtlError, match=said):
        opened(paths, domain=domain)


def test_real_sets_have_the_published_counts() -> None:
    paths = DataPaths(real("digits").parent, Path("nowhere"))
    counts = {name: [len(opened(paths, domain=name).items(split)) for split in SPLITS] for name in digit_files.DOMAINS}
    assert counts == {
        "mnist": [6000, 2000, 2000],
        "fashion_mnist": [6000, 2000, 2000],
        "optdigits": [3186, 637, 1797],
        "semeion": [955, 319, 319],
    }
    semeion = opened(paths, domain="semeion")
    everything = np.concatenate([semeion.items(split) for split in SPLITS])
    assert list(np.bincount(semeion.targets(everything))) == [161, 162, 159, 159, 161, 159, 161, 158, 155, 158]
