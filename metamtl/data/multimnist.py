"""Two overlaid pictures of ten classes with a question about each, and one without an answer.

Sabour, Frosst & Hinton (2017), Dynamic Routing Between Capsules, NeurIPS, for overlaid digits; composed as in Sener &
Koltun (2018), Multi-Task Learning as Multi-Objective Optimization, NeurIPS, section 5.1: on a canvas larger by 8 of 28
pixels one picture is put at the top left and another, drawn from the same split, at the bottom right; the lighter of
both counts, and the canvas is brought back to the pictures' size. No picture is in compositions of two splits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from metamtl.data.digit_domain import divided, resized
from metamtl.data.digit_files import read_pictures
from metamtl.data.examples import ExampleSource
from metamtl.data.images import preprocessing
from metamtl.data.random import integers, key_of
from metamtl.data.source import DataPaths, IntArray, Split
from metamtl.registry import register

MARGIN = 8 / 28  # of a picture's side, by which the canvas is larger
CLASSES = 10


@register("data", "multimnist")
class MultiMNIST(ExampleSource):
    """Compositions uint8 [1, size, size], as many as pictures: item i has picture i at the top left.

    `target` is what is asked: the class of the `left` picture, that of the `right` one, which classes are `present`,
    [10] with one or two ones, or `noise`, a class drawn at random for each item, which nothing in the picture tells:
    what training on it costs the others is negative transfer.
    """

    def __init__(self, *, paths: DataPaths, pictures: str, target: str, full: bool, size: int, split_seed: int) -> None:
        found = read_pictures(pictures, paths, full)
        splits = divided(found, split_seed)
        partner = partners(splits, key_of("partners", split_seed))
        answers: Mapping[str, Callable[[], IntArray]] = {
            "left": lambda: found.y,
            "right": lambda: found.y[partner],
            "present": lambda: _present(found.y, found.y[partner]),
            "noise": lambda: integers(CLASSES, key_of("noise labels", split_seed), np.arange(len(found.y))),
        }
        super().__init__(
            name=f"multi_{pictures}-{target}",
            kind="multilabel" if target == "present" else "classification",
            x=resized(overlaid(found.x, found.x[partner]), size)[:, None],
            y=answers[target](),
            splits=splits,
            output_size=CLASSES,
            preprocessing=preprocessing(size=size, channels="grey", invert=True),
            facts={"pictures": pictures, "target": target, "licence": found.licence},
        )


def partners(splits: Mapping[Split, IntArray], key: int) -> IntArray:
    """For each item [N] another one of its own split."""
    partner = np.empty(sum(len(items) for items in splits.values()), dtype=np.int64)
    for items in splits.values():
        steps = 1 + integers(len(items) - 1, key, items)
        partner[items] = items[(np.arange(len(items)) + steps) % len(items)]
    return partner


def overlaid(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures [N, H, W] at the top left and the bottom right of canvases [N, H + margin, W + margin]."""
    count, height, width = left.shape
    down, across = round(MARGIN * height), round(MARGIN * width)
    canvas = np.zeros((count, height + down, width + across), dtype=np.uint8)
    canvas[:, :height, :width] = left
    np.maximum(canvas[:, down:, across:], right, out=canvas[:, down:, across:])
    return canvas


def _present(*classes: IntArray) -> IntArray:
    """1 for the classes [N, CLASSES] that are in any of the arrays [N], 0 for others."""
    found = np.zeros((len(classes[0]), CLASSES), dtype=np.int64)
    for labels in classes:
        found[np.arange(len(labels)), labels] = 1
    return found
