"""The bridge against the real torchmeta: on real Omniglot drawings, on its file forms, and its own loaders."""

from __future__ import annotations

import importlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metamtl import registry
from metamtl.data import torchmeta, torchmeta_shim
from metamtl.data.classes import ClassSource
from metamtl.data.images import decode
from metamtl.data.places import published
from metamtl.data.sampler import eval_key
from metamtl.data.source import DataPaths, Source, TaskShape
from metamtl.errors import MetamtlError, UsageError
from tests.data.image_files import crossings, with_copies

ALPHABETS = {"Balinese", "Hebrew", "Keble"}  # each wholly in one of Vinyals' splits: train, val, test
SHAPE = TaskShape(ways=5, shots=1, queries=4)

needs_torchmeta = pytest.mark.skipif(
    bool(torchmeta_shim.missing()), reason=f"not installed: {', '.join(torchmeta_shim.missing())}"
)


def build(cache: Path, dataset: str, **options: Any) -> Any:
    paths = DataPaths(data=None, cache=cache)
    return registry.build("data", {"name": "torchmeta", "dataset": dataset, **options}, paths=paths)


@pytest.fixture(scope="module")
def archives() -> Path:
    folder = Path(os.environ.get("METAMTL_TEST_DATA", "")) / "omniglot"
    if "METAMTL_TEST_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("METAMTL_TEST_DATA has no omniglot folder")
    return folder


@pytest.fixture(scope="module")
def omniglot_root(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root converted by torchmeta itself from the drawings of three alphabets.

    Where it finds an archive in its folder it downloads nothing and converts what lies unpacked beside it.
    """
    root = tmp_path_factory.mktemp("torchmeta")
    for part in ("images_background", "images_evaluation"):
        with zipfile.ZipFile(archives / f"{part}.zip") as archive:
            wanted = [one for one in archive.namelist() if one.split("/")[1] in ALPHABETS]
            archive.extractall(root / "omniglot", wanted)
        (root / "omniglot" / f"{part}.zip").touch()
    build(root / "cache", "Omniglot", root=str(root), download=True)
    return root


@pytest.fixture(scope="module")
def omniglot(omniglot_root: Path) -> ClassSource:
    source = build(omniglot_root / "cache", "Omniglot", root=str(omniglot_root))
    assert isinstance(source, ClassSource)
    return source


@needs_torchmeta
def test_classes_are_those_of_the_published_split_that_are_present(omniglot: ClassSource) -> None:
    listed = published("omniglot_vinyals.json")
    for split in ("train", "val", "test"):
        expected = {one for one in listed[split] if one.split("/")[0] in ALPHABETS}
        assert expected and set(omniglot.class_names(split)) == expected
    assert omniglot.facts["classes_listed"] == {"train": 1028, "val": 172, "test": 423}
    assert omniglot.facts["classes"] == {"train": 24, "val": 22, "test": 26}


@needs_torchmeta
def test_drawings_are_those_of_the_archives(omniglot: ClassSource, archives: Path) -> None:
    with zipfile.ZipFile(archives / "images_background.zip") as archive:
        names = [one for one in archive.namelist() if "/Hebrew/character03/" in one and one.endswith(".png")]
        drawn = [decode(archive.read(n), size=28, channels="grey", invert=True, where=n) for n in names]
    items = omniglot.items("val")
    label = omniglot.class_names("val").index("Hebrew/character03")
    bridged = omniglot.gather(items[omniglot.labels(items) == label]).astype(int)
    assert bridged.shape == (20, 1, 28, 28)
    for one in drawn:  # torchmeta keeps the order that its file system had, and inverts before it resizes
        assert min(np.abs(bridged - one).max(axis=(1, 2, 3))) <= 1


@needs_torchmeta
def test_no_class_or_drawing_crosses_splits(omniglot_root: Path) -> None:
    source = build(omniglot_root / "cache", "Omniglot", root=str(omniglot_root), rotations="all")
    names = [{one.split("@")[0] for one in source.class_names(split)} for split in ("train", "val", "test")]
    pixels = [{one.tobytes() for one in source.gather(source.items(s))} for s in ("train", "val", "test")]
    for sets in (names, pixels):
        assert all(sets) and not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]
    assert source.class_count("train") == 4 * 24


@needs_torchmeta
def test_episodes_are_a_function_of_key_and_number(omniglot: ClassSource) -> None:
    assert omniglot.problems("test", SHAPE) == []
    (many,) = omniglot.episodes("test", SHAPE, np.arange(20), key=7)
    (one,) = omniglot.episodes("test", SHAPE, np.array([13]), key=7)
    assert many.support_x.shape == (20, 5, 1, 28, 28) and many.query_x.dtype == np.uint8
    np.testing.assert_array_equal(many.query_x[13], one.query_x[0])
    assert omniglot.problems("train", TaskShape(ways=25, shots=1, queries=4))


@needs_torchmeta
def test_what_is_packed_needs_torchmeta_no_more(
    omniglot: ClassSource, omniglot_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchmeta_shim, "missing", lambda: ["torchmeta"])
    again = build(omniglot_root / "cache", "Omniglot", root=str(omniglot_root))
    assert again.fingerprint == omniglot.fingerprint
    with pytest.raises(UsageError, match="needs torchmeta, not installed here; run: pip install --no-deps"):
        build(omniglot_root / "cache", "Omniglot", root=str(omniglot_root), size=20)


@needs_torchmeta
def test_own_loaders_of_torchmeta_run(omniglot_root: Path) -> None:
    torchmeta_shim.install()
    torchmeta_shim.install()  # a second time changes nothing
    helpers = importlib.import_module("torchmeta.datasets.helpers")
    data = importlib.import_module("torchmeta.utils.data")
    torch_data = importlib.import_module("torch.utils.data")
    # the split by archive, since the list of Vinyals' names characters that are not here
    dataset = helpers.omniglot(
        str(omniglot_root), shots=2, ways=5, test_shots=3, meta_train=True, use_vinyals_split=False
    )
    batch = next(iter(data.BatchMetaDataLoader(dataset, batch_size=4)))
    assert tuple(batch["train"][0].shape) == (4, 10, 1, 28, 28)
    assert tuple(batch["test"][0].shape) == (4, 15, 1, 28, 28)
    assert sorted(batch["train"][1][0].tolist()) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]

    task = dataset[(0, 1, 2, 3, 4)]["train"]
    assert isinstance(task, data.task.SubsetTask)
    fetched = task.__getitems__([0, 7])
    assert [int(target) for _, target in fetched] == [int(task[0][1]), int(task[7][1])]
    images, targets = next(iter(torch_data.DataLoader(task, batch_size=10)))
    assert tuple(images.shape) == (10, 1, 28, 28) and len(set(targets.tolist())) == 5


def write_split_files(root: Path, folder: str, splits: dict[str, dict[str, list[Any]]]) -> None:
    """Files as torchmeta's own conversion writes them; bytes (encoded images) become arrays of variable length."""
    h5py = importlib.import_module("h5py")
    (root / folder).mkdir(parents=True)
    for split, classes in splits.items():
        (root / folder / f"{split}_labels.json").write_text(json.dumps(list(classes)))
        with h5py.File(root / folder / f"{split}_data.hdf5", "w") as file:
            group = file.create_group("datasets")
            for name, examples in classes.items():
                if isinstance(examples[0], bytes):
                    kept = group.create_dataset(name, (len(examples),), dtype=h5py.vlen_dtype(np.uint8))
                    for i, data in enumerate(examples):
                        kept[i] = np.frombuffer(data, dtype=np.uint8)
                else:
                    group.create_dataset(name, data=np.stack(examples))


def plain(red: int, width: int = 84, height: int = 84) -> np.ndarray[Any, np.dtype[np.uint8]]:
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[..., 0] = red
    return image


def png(pixels: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def three_splits(make: Any) -> dict[str, dict[str, list[Any]]]:
    """Two classes of three examples a split; example i of class c is make(40 * c + i)."""
    return {
        split: {f"{split}{c}": [make(40 * (2 * s + c) + i) for i in range(3)] for c in range(2)}
        for s, split in enumerate(("train", "val", "test"))
    }


@needs_torchmeta
@pytest.mark.parametrize(
    ("dataset", "folder", "make", "size"),
    [
        ("MiniImagenet", "miniimagenet", plain, 84),
        ("CUB", "cub", lambda red: png(plain(red, width=120, height=90)), 84),
        ("DoubleMNIST", "doublemnist", lambda red: png(plain(red, 64, 64)), 64),
    ],
)
def test_images_in_every_form_of_file(tmp_path: Path, dataset: str, folder: str, make: Any, size: int) -> None:
    write_split_files(tmp_path, folder, three_splits(make))
    source = build(tmp_path / "cache", dataset, root=str(tmp_path))
    assert source.input_shape == (3, size, size)
    values = source.gather(source.items("test"))[:, :, 0, 0].tolist()
    assert values == [[red, 0, 0] for red in (160, 161, 162, 200, 201, 202)]
    assert build(tmp_path / "cache", dataset, root=str(tmp_path), size=32).input_shape == (3, 32, 32)


@needs_torchmeta
def test_an_image_of_two_splits_stays_with_the_later_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = three_splits(plain)
    splits["train"]["train1"].append(splits["test"]["test0"][2])
    splits["val"]["val0"][0] = splits["test"]["test1"][0]
    write_split_files(tmp_path, "miniimagenet", splits)
    source = build(tmp_path / "cache", "MiniImagenet", root=str(tmp_path))
    assert crossings(source) == [] and source.facts["copies"] == 2
    assert [len(source.items(split)) for split in ("train", "val", "test")] == [6, 5, 6]
    monkeypatch.setattr(torchmeta, "without_copies", with_copies)
    assert len(crossings(build(tmp_path / "another cache", "MiniImagenet", root=str(tmp_path)))) == 2


@needs_torchmeta
def test_table(tmp_path: Path) -> None:
    write_split_files(tmp_path, "letter", three_splits(lambda i: np.full(16, i / 8)))
    source = build(tmp_path / "cache", "Letter", root=str(tmp_path))
    assert source.input_shape == (16,)
    (episode,) = source.episodes("val", TaskShape(ways=2, shots=1, queries=2), np.arange(3), key=1)
    assert episode.support_x.shape == (3, 2, 16) and episode.support_x.dtype == np.float32
    assert set(np.unique(episode.query_x * 8)) <= {80, 81, 82, 120, 121, 122}
    with pytest.raises(UsageError, match="Letter is a table"):
        build(tmp_path / "cache", "Letter", root=str(tmp_path), size=28)


@needs_torchmeta
def test_a_class_in_two_splits_is_refused(tmp_path: Path) -> None:
    splits = three_splits(plain)
    splits["test"]["train0"] = splits["train"]["train0"]
    write_split_files(tmp_path, "miniimagenet", splits)
    with pytest.raises(MetamtlError, match="'train0'"):
        build(tmp_path / "cache", "MiniImagenet", root=str(tmp_path))


@needs_torchmeta
def test_a_torn_conversion_is_told(tmp_path: Path) -> None:
    write_split_files(tmp_path, "miniimagenet", three_splits(plain))
    file = tmp_path / "miniimagenet" / "val_data.hdf5"
    file.write_bytes(file.read_bytes()[:-4000])
    with pytest.raises(MetamtlError, match=r"cannot read its MiniImagenet in .*cut short"):
        build(tmp_path / "cache", "MiniImagenet", root=str(tmp_path))


def test_absent_data_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MetamtlError, match=r"cifar100/data\.hdf5 is missing\): add data\.download=true"):
        build(tmp_path, "CIFARFS")


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [("Pascal5i", "segmentation"), ("TCGA", "share their examples"), ("Omniglott", "choose one of Omniglot, ")],
)
def test_what_cannot_be_a_family_is_refused(tmp_path: Path, dataset: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        build(tmp_path, dataset)


def toy(name: str, count: int, split: Any = "test", first: int = 0) -> Any:
    source: Source = build(Path(), name)
    assert source.kind == "regression" and source.input_shape == (1,) and source.output_size == 1
    (arrays,) = source.episodes(split, TaskShape(5, 10, 20), np.arange(first, first + count), key=3)
    assert arrays.ways is None and arrays.support_x.shape == arrays.support_y.shape == (count, 10, 1)
    return arrays


def misfit(x: Any, y: Any, *functions: Any) -> float:
    """The largest error of the least-squares fit of y [n, 1] by functions of x [n, 1]."""
    columns = np.concatenate([function(x) for function in functions], axis=1)
    return float(np.abs(columns @ np.linalg.lstsq(columns, y, rcond=None)[0] - y).max())


@needs_torchmeta
def test_toy_tasks_are_one_function_in_support_and_query() -> None:
    waves = toy("Sinusoid", 20)
    x = np.concatenate([waves.support_x, waves.query_x], axis=1)
    y = np.concatenate([waves.support_y, waves.query_y], axis=1)
    assert max(misfit(a, b, np.sin, np.cos) for a, b in zip(x, y, strict=True)) < 1e-9
    assert np.abs(x).max() <= 5 and len(np.unique(x)) == x.size
    assert np.ptp(toy("Harmonic", 20).query_x.mean(axis=1)) > 2  # each task looks at its own stretch of x


@needs_torchmeta
@pytest.mark.parametrize("name", ["Sinusoid", "Harmonic", "SinusoidAndLine"])
def test_toy_episodes_are_a_function_of_split_and_number(name: str) -> None:
    many, one = toy(name, 10), toy(name, 1, first=6)
    np.testing.assert_array_equal(many.query_y[6], one.query_y[0])
    assert not np.isin(toy(name, 10, split="train").query_y, many.query_y).any()


@needs_torchmeta
def test_lines_and_waves_come_in_equal_parts() -> None:
    tasks = toy("SinusoidAndLine", 200)
    lines = sum(
        misfit(x, y, np.ones_like, np.positive) < 1e-9 for x, y in zip(tasks.query_x, tasks.query_y, strict=True)
    )
    assert 70 <= lines <= 130


def test_toys_are_keyed_on_all_but_ways() -> None:
    tasks = ((5, 10), (2, 10), (5, 9))
    keys = [eval_key(0, build(Path(), "Harmonic"), "test", TaskShape(ways, shots, 20)) for ways, shots in tasks]
    assert keys[0] == keys[1] != keys[2]


def test_toys_take_no_option_of_images() -> None:
    with pytest.raises(UsageError, match="no images"):
        build(Path(), "Sinusoid", size=28)


def answer(body: bytes, kind: str) -> Any:
    requests = pytest.importorskip("requests")
    response = requests.Response()
    response.raw, response.status_code, response.url = io.BytesIO(body), 200, "https://drive.example/x"
    response.headers["content-type"] = kind
    return response


def test_a_web_page_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "data.zip"
    torchmeta_shim.save_response(answer(b"bytes", "application/zip"), str(target))
    assert target.read_bytes() == b"bytes"
    with pytest.raises(MetamtlError, match=r"web page in place of page\.zip"):
        torchmeta_shim.save_response(answer(b"<html>", "text/html; charset=utf-8"), str(tmp_path / "page.zip"))
    assert [one.name for one in tmp_path.iterdir()] == ["data.zip"]


def test_token_by_which_drive_hands_out_large_files() -> None:
    assert torchmeta_shim.confirm_token(answer(b"", "application/zip")) is None
    assert torchmeta_shim.confirm_token(answer(b"", "text/html")) == "t"
    warned = answer(b"", "text/html")
    warned.cookies.set("download_warning_123", "abcd")
    assert torchmeta_shim.confirm_token(warned) == "abcd"
