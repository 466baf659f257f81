"""Four sets of small grey pictures in ten classes, read from the files they are published in.

MNIST (LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition, Proceedings of
the IEEE 86), Fashion-MNIST (Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747), and from the UCI Machine Learning
Repository Optical Recognition of Handwritten Digits (Alpaydin & Kaynak 1998) and Semeion Handwritten Digit (Buscema &
Terzi 1994). Other writers, resolutions and binarisation make domains of the three sets of digits.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.data.download import fetch
from metamtl.data.idx import read_idx
from metamtl.data.places import UNNAMED, downloads, first_existing, folders
from metamtl.data.source import DataPaths, IntArray
from metamtl.errors import MetamtlError, UsageError

MAX_DOWNLOAD = 40 * 2**20  # bytes; the largest file, Fashion-MNIST's training images, has 26 MB
UCI = "https://archive.ics.uci.edu/static/public"
ARCHIVES = {  # no sums of them are published, so they are not fetched
    "optdigits": f"{UCI}/80/optical+recognition+of+handwritten+digits.zip",
    "semeion": f"{UCI}/178/semeion+handwritten+digit.zip",
}


@dataclass(frozen=True)
class Pictures:
    """x uint8 [N, H, W], ink 255 on paper 0, and classes y [N]; the last `tested` are the published test part.

    `tested` is 0 where the set has no such part, or nothing but it was read.
    """

    x: NDArray[np.uint8]
    y: IntArray
    tested: int
    licence: str


@dataclass(frozen=True)
class Published:
    """IDX files by their md5, the sum that is published; `images` and `labels` of each part."""

    url: str
    inner: tuple[str, ...]  # the folders they are usually in
    md5: Mapping[str, str]
    licence: str


MNIST = Published(
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ("mnist", "digits/mnist", "MNIST/raw"),
    {
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    "CC BY-SA 3.0",
)
FASHION = Published(
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ("fashion_mnist", "digits/fashion_mnist", "FashionMNIST/raw"),
    {
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    "MIT",
)
PUBLISHED: Mapping[str, Published] = {"mnist": MNIST, "fashion_mnist": FASHION}
SEMEION = ("semeion.data", "semeion.txt")  # as it is published, and in a compact form


def _published(sets: Published, paths: DataPaths, full: bool) -> Pictures:
    parts = ("train", "t10k") if full else ("t10k",)
    read = [_idx_part(sets, paths, part) for part in parts]
    x, y = (np.concatenate(arrays) for arrays in zip(*read, strict=True))
    return Pictures(x, y.astype(np.int64), len(read[-1][1]) if full else 0, sets.licence)


def _idx_part(sets: Published, paths: DataPaths, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    files = [_idx_file(sets, paths, f"{part}-{what}") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    x, y = read_idx(files[0], 3), read_idx(files[1], 1)
    if len(x) != len(y) or not len(y) or y.max() > 9:
        raise MetamtlError(f"{files[1]} does not label the pictures in {files[0].name} by ten classes; get both again.")
    return x, y


def _idx_file(sets: Published, paths: DataPaths, stem: str) -> Path:
    """The file in a folder of the user's, zipped or not, or else downloaded."""
    found = _idx_found(sets, paths, stem)
    if found is not None:
        return found
    target = downloads(paths) / sets.inner[0] / f"{stem}.gz"
    return fetch(f"{sets.url}{stem}.gz", target, md5=sets.md5[stem], max_bytes=MAX_DOWNLOAD)


def _idx_found(sets: Published, paths: DataPaths, stem: str) -> Path | None:
    return first_existing(folders(paths, "digit_domain", None, *sets.inner), (f"{stem}.gz", stem))


def _optdigits(paths: DataPaths, full: bool) -> Pictures:
    """Counts 0 to 16 on 8x8 places; those of other writers are the test part."""
    tables = [_numbers(_uci_file(paths, "optdigits", (f"optdigits.{part}",)), ",", 65) for part in ("tra", "tes")]
    table = np.concatenate(tables)
    return _squares(table[:, :64] / 16, table[:, 64], len(tables[1]), "optdigits")


def _semeion(paths: DataPaths, full: bool) -> Pictures:
    """Bits on 16x16 places, and the digit, or as officially written ten columns of which its own is 1."""
    path = _uci_file(paths, "semeion", SEMEION)
    if path.suffix == ".data":
        table = _numbers(path, None, 266)
        return _squares(table[:, :256], table[:, 256:].argmax(1), 0, "semeion")
    lines = [line.split() for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
    if any(len(line) != 2 or len(line[0]) != 256 for line in lines):
        raise MetamtlError(f"{path} does not have 256 bits and a digit on every line; get it again.")
    bits = np.array([list(line[0]) for line in lines], dtype=np.float64)
    return _squares(bits, np.array([line[1] for line in lines], dtype=np.float64), 0, "semeion")


def _uci_file(paths: DataPaths, domain: str, names: tuple[str, ...]) -> Path:
    found = _uci_found(paths, domain, names)
    if found is None:
        raise UsageError(f"data.domain={domain} needs {names[0]}: {missing(domain)}")
    return found


def _uci_found(paths: DataPaths, domain: str, names: tuple[str, ...]) -> Path | None:
    return first_existing(folders(paths, "digit_domain", None, domain, f"digits/{domain}"), names)


def missing(domain: str, folder: str = UNNAMED) -> str:
    """How one gets a set that is not there; `folder` is where it may be put."""
    if domain in PUBLISHED:
        files = [f"{PUBLISHED[domain].url}{stem}.gz" for stem in PUBLISHED[domain].md5]
        test = " and ".join(file for file in files if "/t10k" in file)
        train = " and ".join(file for file in files if "/train" in file)
        use = f"metamtl train data=digit_domain data.domain={domain}"
        return f"downloaded on first use, {use}; or get {test} into {folder} (with data.full=true also {train})"
    return f"get {ARCHIVES[domain]} and unpack it into {folder}."


def find(domain: str, paths: DataPaths) -> Path | None:
    """A file of the set, if it is there."""
    if domain in PUBLISHED:
        return _idx_found(PUBLISHED[domain], paths, "t10k-images-idx3-ubyte")
    return _uci_found(paths, domain, SEMEION if domain == "semeion" else ("optdigits.tes",))


def _numbers(path: Path, delimiter: str | None, columns: int) -> NDArray[np.float64]:
    try:
        table = np.loadtxt(io.StringIO(path.read_text(encoding="ascii")), delimiter=delimiter, ndmin=2)
    except (OSError, ValueError) as error:
        raise MetamtlError(f"{path} is no table of numbers ({error}); get it again.") from error
    if table.shape[1] != columns:
        raise MetamtlError(f"{path} has {table.shape[1]} numbers a line and not {columns}; get it again.")
    return np.asarray(table, dtype=np.float64)


def _squares(levels: NDArray[np.float64], y: NDArray[Any], tested: int, domain: str) -> Pictures:
    side = round(levels.shape[1] ** 0.5)
    if levels.min() < 0 or levels.max() > 1 or y.min() < 0 or y.max() > 9:
        raise MetamtlError(f"The files of {domain} hold levels or digits out of range; get them again.")
    x = np.rint(255 * levels).astype(np.uint8).reshape(-1, side, side)
    return Pictures(x, y.astype(np.int64), tested, "CC BY 4.0")


DOMAINS: Mapping[str, Callable[[DataPaths, bool], Pictures]] = {
    "mnist": partial(_published, MNIST),
    "fashion_mnist": partial(_published, FASHION),
    "optdigits": _optdigits,
    "semeion": _semeion,
}


def read_pictures(domain: str, paths: DataPaths, full: bool = False) -> Pictures:
    """The pictures of a set, found below paths.data or downloaded where a sum is published.

    Of MNIST and Fashion-MNIST the 10,000 test pictures alone, unless `full` asks for the 60,000 training ones too.
    Raises UsageError where files are missing that cannot be downloaded, MetamtlError where they are damaged.
    """
    return DOMAINS[domain](paths, full)
