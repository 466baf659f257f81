"""A user's own examples as the network's data was: pictures of any size, mode and polarity, or plain arrays.

Polarity: where the run learnt from grey pictures of one background, a picture on the opposite one is inverted
(`metamtl.data.inputs.light_background`), unless the user says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from metamtl.data.images import Channels, decode, pixels_of
from metamtl.data.inputs import light_background
from metamtl.errors import MetamtlError, UsageError
from metamtl.runs.files import clear_disk_errors

Pictures = NDArray[Any] | Tensor | Sequence[str | Path | Image.Image]
Invert = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class Read:
    """Examples as the network's data is stored, x [N, ...], and which of them were inverted [N]."""

    x: NDArray[Any]
    inverted: NDArray[np.bool_]


@dataclass(frozen=True)
class ArrayReader:
    """Examples that are no pictures: floats [N, *shape], taken as they are."""

    shape: tuple[int, ...]

    def read(self, x: Pictures) -> Read:
        """UsageError where the shape is another, or a number is not finite."""
        array = _array(x).astype(np.float32)
        if array.ndim == 1 and self.shape == (1,):
            array = array[:, None]
        if array.shape[1:] != self.shape:
            raise UsageError(f"The run learnt from examples of shape {list(self.shape)}, not {list(array.shape[1:])}.")
        if not np.isfinite(array).all():
            raise UsageError("The examples hold numbers that are not finite.")
        return Read(array, np.zeros(len(array), dtype=bool))


@dataclass(frozen=True)
class PictureReader:
    """Pictures as uint8 [N, C, size, size]; `background` is that of the run's data (None where it has no polarity)."""

    size: int
    channels: Channels
    background: str | None
    invert: Invert

    def read(self, x: Pictures) -> Read:
        """Arrays [N, H, W] or [N, C, H, W] of bytes or of floats in [0, 1], or a list of paths or Pillow images.

        Raises UsageError for another shape or range, MetamtlError that names every file that cannot be read.
        """
        if isinstance(x, str | Path):
            raise UsageError(f"Give a list of pictures, such as ['{x}'].")
        if isinstance(x, np.ndarray | Tensor) or (len(x) and not isinstance(x[0], str | Path | Image.Image)):
            return self._settled([self._of_image(image) for image in _images(_array(x))])
        pixels, problems = [], []
        for one in x:
            try:
                pixels.append(self._of_image(one) if isinstance(one, Image.Image) else self._of_file(Path(one)))
            except MetamtlError as error:
                problems.append(str(error))
        if problems:
            raise MetamtlError("\n".join(problems))
        return self._settled(pixels)

    def readable(self, files: Sequence[Path]) -> tuple[list[Path], list[str]]:
        """The files that can be read, and a sentence for each that cannot."""
        kept, problems = [], []
        for file in files:
            try:
                self._of_file(file)
                kept.append(file)
            except MetamtlError as error:
                problems.append(str(error))
        return kept, problems

    def _of_file(self, file: Path) -> NDArray[np.uint8]:
        with clear_disk_errors(file, doing="read"):
            data = file.read_bytes()
        return decode(data, size=self.size, channels=self.channels, invert=False, where=str(file))

    def _of_image(self, image: Image.Image) -> NDArray[np.uint8]:
        try:
            return pixels_of(image, size=self.size, channels=self.channels)
        except (OSError, ValueError) as error:
            raise MetamtlError(f"A picture cannot be read ({error}).") from error

    def _settled(self, pixels: list[NDArray[np.uint8]]) -> Read:
        """The pictures with their polarity settled."""
        if not pixels:
            raise UsageError("There is no picture: give at least one.")
        stacked = np.stack(pixels)
        if self.invert == "auto" and self.background in ("dark", "light"):
            inverted = light_background(stacked) == (self.background == "dark")
        else:
            inverted = np.full(len(stacked), self.invert == "always")
        stacked[inverted] = 255 - stacked[inverted]
        return Read(stacked, inverted)


def reader_of(inputs: Mapping[str, Any], invert: Invert = "auto") -> PictureReader | ArrayReader:
    """How the user's examples are read for a run whose inputs are recorded so."""
    if invert not in ("auto", "always", "never"):
        raise UsageError(f"invert={invert}: it is auto, always or never.")
    preprocessing, shape = inputs["preprocessing"], tuple(inputs["shape"])
    if len(shape) != 3 or "size" not in preprocessing:
        return ArrayReader(shape)
    return PictureReader(preprocessing["size"], preprocessing["channels"], inputs["background"], invert)


def _array(x: Any) -> NDArray[Any]:
    return np.asarray(x.detach().cpu() if isinstance(x, torch.Tensor) else x)


def _images(array: NDArray[Any]) -> list[Image.Image]:
    """Pillow images of arrays [N, H, W] or [N, C, H, W] with C = 1 or 3."""
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[1] != 3):
        hint = "; move the channels to the second axis" if array.ndim == 4 and array.shape[-1] in (1, 3) else ""
        raise UsageError(f"Pictures are [N, H, W] or [N, C, H, W] with 1 or 3 channels, not {list(array.shape)}{hint}.")
    if not array.size:
        return []
    levels = _bytes(array)
    return [Image.fromarray(one if one.ndim == 2 else np.ascontiguousarray(one.transpose(1, 2, 0))) for one in levels]


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    top = 1 if array.dtype.kind in "fb" else 255
    if array.dtype.kind not in "fbiu" or not (array.min() >= 0 and array.max() <= top):
        raise UsageError("Pictures are bytes, or floats from 0 (black) to 1 (white); other values have no known range.")
    return np.rint(array.astype(np.float64) * (255 // top)).astype(np.uint8)
