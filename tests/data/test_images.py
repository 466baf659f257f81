import io

import numpy as np
import pytest
from PIL import Image

from metamtl.data.images import decode, is_image
from metamtl.errors import MetamtlError
from tests.data.image_files import noise, png


def strokes() -> Image.Image:
    """A 1-bit drawing, white paper with a black line one pixel wide."""
    image = Image.new("1", (105, 105), 1)
    for row in range(10, 95):
        image.putpixel((52, row), 0)
    return image


def saved(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=kind)
    return stream.getvalue()


def test_one_bit_drawings_become_grey_before_they_are_resized() -> None:
    pixels = decode(saved(strokes()), size=28, channels="grey", invert=True, where="x")
    assert pixels.shape == (1, 28, 28) and pixels.dtype == np.uint8
    between = (pixels > 0) & (pixels < 255)
    assert between.sum() >= 20  # resized in mode "1" every pixel would be 0 or 255
    ink = 255 - np.asarray(strokes().convert("L"), dtype=float)
    assert pixels.mean() == pytest.approx(ink.mean(), rel=0.05)  # the filter keeps the amount of ink


def test_invert_and_channels() -> None:
    levels = noise(1, channels=1)
    grey = decode(png(levels), size=8, channels="grey", invert=False, where="x")
    assert (grey[0] == levels).all()
    assert (decode(png(levels), size=8, channels="grey", invert=True, where="x") == 255 - grey).all()
    assert (decode(png(levels), size=8, channels="rgb", invert=False, where="x") == grey).all()
    colours = noise(2)
    rgb = decode(png(colours), size=8, channels="rgb", invert=False, where="x")
    assert (rgb == colours.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_every_mode_of_a_grey_picture_gives_the_same_levels(mode: str) -> None:
    levels = np.array([[0, 255], [255, 0]], dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    deep = saved(Image.fromarray(levels.astype(np.uint16) * 257))
    data = deep if mode == "I;16" else png(levels, mode)
    for channels, count in (("grey", 1), ("rgb", 3)):
        got = decode(data, size=8, channels=channels, invert=False, where="x")  # type: ignore[arg-type]
        assert got.shape == (count, 8, 8)
        assert (got == levels).all(), mode


def test_transparent_parts_are_paper() -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert decode(saved(image), size=8, channels="grey", invert=False, where="x").min() == 255


def test_photographs_are_turned_upright() -> None:
    image = Image.new("L", (16, 8))
    image.paste(255, (0, 0, 8, 8))  # the left half is light
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter to show it
    stream = io.BytesIO()
    image.save(stream, format="JPEG", exif=exif, quality=95)
    pixels = decode(stream.getvalue(), size=8, channels="grey", invert=False, where="x")[0]
    assert pixels[:3].min() > 200 and pixels[5:].max() < 50  # now the top half is


@pytest.mark.parametrize("data", [b"", b"not an image", png(noise(1))[:60], b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_an_unreadable_image_is_named(data: bytes) -> None:
    with pytest.raises(MetamtlError, match=r"The image folder/x\.png cannot be read"):
        decode(data, size=8, channels="rgb", invert=False, where="folder/x.png")


def test_a_huge_image_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metamtl.data.images.MAX_PIXELS", 63)
    with pytest.raises(MetamtlError, match="more than 63 pixels"):
        decode(png(noise(1)), size=8, channels="rgb", invert=False, where="x")


def test_what_counts_as_an_image() -> None:
    assert [is_image(name) for name in ("a/b.PNG", "a/b.jpeg")] == [True, True]
    for name in ("a/b.txt", "a/.hidden.png", "__MACOSX/a/b.png", ".cache/b.png", "png"):
        assert not is_image(name), name
