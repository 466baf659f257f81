"""An image file, in any mode, to uint8 pixels of one size: first to grey levels or RGB, then resized.

The order matters: Pillow ignores the resampling filter for 1-bit and palette images, so that thin strokes resized in
that mode lose whole parts. The filter is bilinear with antialiasing (Pillow widens its support when it reduces), which
unlike Lanczos adds no halo around strokes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from metamtl.errors import MetamtlError

Channels = Literal["grey", "rgb"]

INTERPOLATION = "bilinear, antialiased"
MAX_PIXELS = 100_000_000  # a decoded image is held in memory; no camera's picture is larger
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"})

# Named, since Pillow would otherwise try every format it knows, some of which start other programs (EPS).
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")


def is_image(name: str) -> bool:
    """Whether a member's name is that of an image; hidden files and a Mac's shadow copies are none."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and path.suffix.lower() in EXTENSIONS


def decode(data: bytes, *, size: int, channels: Channels, invert: bool, where: str) -> NDArray[np.uint8]:
    """The image in the file `data` as uint8 [C, size, size], C = 1 for grey and 3 for rgb.

    Transparent parts are white, as on paper; a picture with an orientation mark is turned upright; the sides are
    scaled independently (no cropping); `invert` makes ink 255 and paper 0. `where` names the file in the
    MetamtlError that an unreadable image raises.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"it has more than {MAX_PIXELS:,} pixels")
            pixels = pixels_of(image, size=size, channels=channels)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise MetamtlError(f"The image {where} cannot be read ({_first_line(error)}).") from error
    return 255 - pixels if invert else pixels


def pixels_of(image: Image.Image, *, size: int, channels: Channels) -> NDArray[np.uint8]:
    """As `decode`, from an opened image and not inverted; ValueError or OSError where its pixels cannot be read."""
    levels = _levels(ImageOps.exif_transpose(image), "L" if channels == "grey" else "RGB")
    if levels.size != (size, size):
        levels = levels.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(levels, dtype=np.uint8)
    return pixels[None] if channels == "grey" else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def preprocessing(
    *,
    size: int,
    channels: Channels,
    invert: bool,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> dict[str, Any]:
    """What `decode` does and how its bytes v become network input, (v * scale - mean) / std for each channel.

    It goes into the result, and is enough to treat a user's own image alike.
    """
    return {
        "size": size,
        "channels": channels,
        "polarity": "ink is 1, paper is 0" if invert else "as in the files",
        "interpolation": INTERPOLATION,
        "order": "to grey levels or RGB, resize, invert, rotate",
        "scale": 1 / 255,
        "mean": None if mean is None else list(mean),
        "std": None if std is None else list(std),
    }


def _levels(image: Image.Image, mode: str) -> Image.Image:
    """`image` in 8-bit grey levels ("L") or "RGB"."""
    if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow's own conversion would clip to white
        image = Image.fromarray((np.asarray(image, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range; save it as 8 or 16 bits")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(paper, image)
    return image.convert(mode)


def _first_line(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is no image of a known format"
    return (str(error) or type(error).__name__).splitlines()[0]
