"""Handwritten digits of several origins at one size: domains of one question, for adaptation and for sequences.

Sets and files are those of `digit_files`. A domain may also be made of another by turning it (Ghifary, Kleijn, Zhang &
Balduzzi 2015, Domain Generalization for Object Recognition with Multi-task Autoencoders, ICCV), by noise, by
exchanging ink and paper, or by one fixed permutation of all pixels (Goodfellow et al. 2013, arXiv:1312.6211).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metamtl.data.digit_files import Pictures, read_pictures
from metamtl.data.examples import ExampleSource
from metamtl.data.images import preprocessing
from metamtl.data.random import bits, key_of, normal, permutation
from metamtl.data.source import DataPaths, IntArray, Split
from metamtl.registry import register

_BLOCK = 1000  # pictures whose noise is drawn at a time

Bytes = NDArray[np.uint8]


@register("data", "digit_domain")
class DigitDomain(ExampleSource):
    """Pictures uint8 [1, size, size] of the classes 0 to 9, ink 255 on 0.

    A published test part is the test split, and the rest is divided 5 to 1 into training and validation; without one,
    60, 20 and 20 percent of all. `digits` are those that there are examples of, of all splits. In their order, `rotate`
    (degrees anticlockwise), `noise` (standard deviation, the full scale being 1), `invert` and `permute` (seed of a
    permutation of pixels) change every picture.
    """

    def __init__(
        self,
        *,
        paths: DataPaths,
        domain: str,
        full: bool,
        size: int,
        digits: Sequence[int] | None,
        rotate: float,
        noise: float,
        invert: bool,
        permute: int | None,
        split_seed: int,
        labels: int | None = None,
        val_labels: int | None = None,
    ) -> None:
        pictures = read_pictures(domain, paths, full)
        splits = divided(pictures, split_seed)
        if digits is not None:
            splits = {split: items[np.isin(pictures.y[items], list(digits))] for split, items in splits.items()}
        x = resized(pictures.x, size, rotate)
        if noise:
            x = noisy(x, noise, key_of("noise", domain, split_seed))
        if invert:
            x = 255 - x
        if permute is not None:
            x = x.reshape(len(x), -1)[:, permutation(size * size, key_of("pixels", permute))].reshape(x.shape)
        changed = {"turned": rotate != 0, "noisy": noise > 0, "inverted": invert, "permuted": permute is not None}
        super().__init__(
            name="-".join([domain, *(how for how, done in changed.items() if done)]),
            kind="classification",
            x=x[:, None],
            y=pictures.y,
            splits=splits,
            output_size=10,
            originals=f"{domain}, full" if full else domain,
            labels=labels,
            val_labels=val_labels,
            split_seed=split_seed,
            preprocessing=preprocessing(size=size, channels="grey", invert=not invert),
            facts={
                "domain": domain,
                "rotate": rotate,
                "noise": noise,
                "invert": invert,
                "permute": permute,
                "digits": digits,
                "split": "published test part" if pictures.tested else "by example, seeded",
                "licence": pictures.licence,
            },
        )


def divided(pictures: Pictures, seed: int) -> dict[Split, IntArray]:
    """The items of each split."""
    count = len(pictures.y)
    if pictures.tested:
        order = permutation(count - pictures.tested, seed)
        val = round(len(order) / 6)
        return {"train": order[val:], "val": order[:val], "test": np.arange(len(order), count)}
    order = permutation(count, seed)
    held_out = round(0.2 * count)
    return {"train": order[2 * held_out :], "val": order[:held_out], "test": order[held_out : 2 * held_out]}


def resized(x: Bytes, size: int, rotate: float = 0.0) -> Bytes:
    """Pictures [N, H, W] as [N, size, size], turned by `rotate` degrees anticlockwise; bilinear, antialiased."""
    if x.shape[1:] == (size, size) and not rotate:
        return x
    changed = np.empty((len(x), size, size), dtype=np.uint8)
    for number, picture in enumerate(x):
        image = Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR)
        changed[number] = np.asarray(image.rotate(rotate, Image.Resampling.BILINEAR) if rotate else image)
    return changed


def noisy(x: Bytes, deviation: float, key: int) -> Bytes:
    """Pictures with Gaussian noise of each pixel's own, a function of the key and the picture's number; clipped."""
    pixels = np.arange(x[0].size)
    changed = np.empty_like(x)
    for start in range(0, len(x), _BLOCK):
        block = x[start : start + _BLOCK]
        keys = bits(key, np.arange(start, start + len(block)))[:, None]
        levels = block + 255 * deviation * normal(keys, 0, 1, pixels).reshape(block.shape)
        changed[start : start + len(block)] = np.rint(levels).clip(0, 255)
    return changed
