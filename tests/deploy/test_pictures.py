from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from metamtl.data.classes import ClassSource
from metamtl.data.images import decode
from metamtl.data.inputs import RecordedSource, describe_inputs, light_background
from metamtl.data.store import ClassExamples, pack
from metamtl.deploy.pictures import ArrayReader, PictureReader, Pictures, reader_of
from metamtl.errors import MetamtlError, UsageError
from tests.data.image_files import png

SIZE = 28


def _drawings(count: int, side: int = SIZE) -> NDArray[np.uint8]:
    """Light strokes on dark [N, side, side]: a cross somewhere, under a little noise."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 40, (count, side, side))
    for picture, (row, column) in zip(pictures, rng.integers(side // 4, 3 * side // 4, (count, 2)), strict=True):
        picture[row - 1 : row + 1, 3:-3] = picture[3:-3, column - 1 : column + 1] = 230
    return pictures.astype(np.uint8)


def _reader(background: str | None = "dark", **changes: object) -> PictureReader:
    return PictureReader(**{"size": SIZE, "channels": "grey", "background": background, "invert": "auto", **changes})  # type: ignore[arg-type]


def test_every_way_to_give_a_picture_reads_the_same(tmp_path: Path) -> None:
    x = _drawings(3)
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for file, picture in zip(files, x, strict=True):
        file.write_bytes(png(picture))
    given: list[Pictures] = [
        x,
        x[:, None],
        torch.from_numpy(x),
        x / 255.0,
        files,
        list(map(str, files)),
        list(map(Image.fromarray, x)),
    ]
    for one in given:
        np.testing.assert_array_equal(_reader().read(one).x, x[:, None])


def test_pictures_of_another_size_are_resized_as_the_data_was() -> None:
    large = _drawings(2, side=90)
    expected = [decode(png(one), size=SIZE, channels="grey", invert=False, where="x") for one in large]
    np.testing.assert_array_equal(_reader().read(large).x, np.stack(expected))
    colour = _reader(channels="rgb", background=None).read(large).x
    assert colour.shape == (2, 3, SIZE, SIZE)


def test_the_opposite_polarity_is_recognised_picture_by_picture() -> None:
    light_on_dark = _drawings(40)
    mixed = light_on_dark.copy()
    mixed[::3] = 255 - mixed[::3]
    read = _reader("dark").read(mixed)
    np.testing.assert_array_equal(read.x[:, 0], light_on_dark)
    np.testing.assert_array_equal(read.inverted, np.arange(40) % 3 == 0)
    np.testing.assert_array_equal(_reader("light").read(mixed).x[:, 0], 255 - light_on_dark)


@pytest.mark.parametrize(("background", "invert", "inverted"), [
    ("mixed", "auto", 0), (None, "auto", 0), ("dark", "never", 0), ("dark", "always", 4), (None, "always", 4),
])  # fmt: skip
def test_pictures_are_inverted_only_where_the_run_or_the_user_says_so(
    background: str | None, invert: str, inverted: int
) -> None:
    dark_on_light = 255 - _drawings(4)
    read = _reader(background, invert=invert).read(dark_on_light)
    assert read.inverted.sum() == inverted
    np.testing.assert_array_equal(read.x[:, 0], 255 - dark_on_light if inverted else dark_on_light)


def test_faint_and_blank_pictures_have_a_background_too() -> None:
    faint = (_drawings(5) // 10 + 100).astype(np.uint8)
    assert not light_background(faint[:, None]).any()
    assert light_background((200 - faint)[:, None]).all()
    blank = np.stack([np.full((1, SIZE, SIZE), level, dtype=np.uint8) for level in (0, 255)])
    assert light_background(blank).tolist() == [False, True]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((2, 28, 28, 3)), "move the channels to the second axis"),
        (np.zeros((2, 5, 28, 28)), r"not \[2, 5, 28, 28\]"),
        (np.zeros((28, 28)), r"not \[28, 28\]"),
        (np.full((2, 28, 28), 2.0), "floats from 0"),
        (np.full((2, 28, 28), np.nan), "floats from 0"),
        (np.full((2, 28, 28), -1), "floats from 0"),
        (np.zeros((2, 28, 28), dtype=complex), "floats from 0"),
        ([], "no picture"),
        ("one.png", "Give a list"),
    ],
)
def test_other_shapes_and_values_are_refused(given: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        _reader().read(given)  # type: ignore[arg-type]


def test_every_damaged_file_is_named(tmp_path: Path) -> None:
    good, torn, text = (tmp_path / name for name in ("good.png", "torn.png", "text.png"))
    good.write_bytes(png(_drawings(1)[0]))
    torn.write_bytes(good.read_bytes()[:60])
    text.write_text("no picture")
    with pytest.raises(MetamtlError) as refusal:
        _reader().read([good, torn, text, tmp_path / "absent.png"])
    assert [name in str(refusal.value) for name in ("good", "torn", "text", "absent")] == [False, True, True, True]
    assert " at 0x" not in str(refusal.value)
    kept, problems = _reader().readable([good, torn, text])
    assert (kept, len(problems)) == ([good], 2)


def test_arrays_of_other_data_are_taken_as_they_are() -> None:
    reader = ArrayReader((1,))
    np.testing.assert_array_equal(reader.read(np.arange(3)).x, np.array([[0], [1], [2]], dtype=np.float32))
    for wrong, said in ((np.zeros((3, 2)), r"shape \[1\], not \[2\]"), (np.array([np.inf]), "not finite")):
        with pytest.raises(UsageError, match=said):
            reader.read(wrong)
    assert reader_of({"preprocessing": {}, "shape": [1]}) == reader


def test_a_wrong_choice_of_inverting_is_refused() -> None:
    with pytest.raises(UsageError, match="auto, always or never"):
        reader_of({"preprocessing": {}, "shape": [1]}, "yes")  # type: ignore[arg-type]


def test_the_background_of_a_data_set_is_measured_on_training_examples(tmp_path: Path) -> None:
    light_on_dark = _drawings(30)
    half = np.concatenate([light_on_dark[:15], 255 - light_on_dark[15:]])
    found = {"dark": light_on_dark, "light": 255 - light_on_dark, "mixed": half}
    for background, pictures in found.items():
        classes = [ClassExamples(str(c), "", pictures[c::3, None]) for c in range(3)]
        packed = pack(tmp_path, background, {}, "", lambda classes=classes: classes)  # type: ignore[misc]
        source = ClassSource(name="x", packed=packed, splits={"train": list("012")}, preprocessing={}, facts={})
        assert describe_inputs(source)["background"] == background
    assert RecordedSource(describe_inputs(source)).class_count("train") == 3
