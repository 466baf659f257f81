"""The shapes that meta-gradients are timed at, and those that a user gives by the ordinary config keys.

S1-S5 are MAML on Conv-4 with batch statistics over images of random numbers, S6 the sine waves of Finn et al. (2017).
Arithmetic does not depend on what a picture shows, and random numbers are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from metamtl.data.random import bits
from metamtl.data.source import EpisodeArrays, IntArray, Source, Split, TaskShape
from metamtl.errors import UsageError

OWN = "own"


@dataclass(frozen=True)
class Shape:
    """Config overrides, and the size of a random image; where it is None the data of the config is opened."""

    name: str
    overrides: tuple[str, ...]
    image: tuple[int, int, int] | None = None


def _images(
    name: str, task: tuple[int, int, int], tasks: int, steps: int, downsample: str, width: int = 64, side: int = 28
) -> Shape:
    ways, shots, queries = task
    readout = "mean" if downsample == "stride" else "flatten"
    overrides = (
        *("algo=maml", "data=glyphs", "backbone=conv4", f"backbone.downsample={downsample}"),
        *(f"backbone.readout={readout}", f"backbone.width={width}", "backbone.norm=batch"),
        *(f"task.ways={ways}", f"task.shots={shots}", f"task.queries={queries}", f"trainer.meta_batch={tasks}"),
        *(f"algo.inner_steps={steps}", "algo.inner_lr=0.1"),
    )
    return Shape(name, overrides, (3 if side == 84 else 1, side, side))


SHAPES = {
    shape.name: shape
    for shape in (
        _images("S1", (5, 1, 1), tasks=32, steps=1, downsample="stride"),
        _images("S2", (5, 5, 15), tasks=16, steps=1, downsample="stride"),
        _images("S3", (5, 1, 15), tasks=8, steps=5, downsample="pool"),
        _images("S4", (20, 1, 1), tasks=16, steps=5, downsample="stride"),
        _images("S5", (5, 1, 15), tasks=4, steps=5, downsample="pool", width=32, side=84),
        Shape(
            "S6",
            (
                *("algo=maml", "data=sinusoid", "task.shots=10", "task.queries=10", "trainer.meta_batch=25"),
                *("algo.inner_steps=1", "algo.inner_lr=0.01"),
            ),
        ),
    )
}


def shapes_of(names: Sequence[str], overrides: Sequence[str], device: str = "cpu") -> list[Shape]:
    """The shapes named, then the one that the user's overrides make; all of them where neither is given.

    They are computed on `device`. UsageError for a name that there is not.
    """
    if wrong := [name for name in names if name not in SHAPES]:
        raise UsageError(f"--shapes={wrong[0]}: no such shape; there are {', '.join(SHAPES)}.")
    chosen = [SHAPES[name] for name in names or ([] if overrides else SHAPES)]
    if overrides:
        has_algo = any(override.startswith("algo=") for override in overrides)
        chosen.append(Shape(OWN, (*([] if has_algo else ["algo=maml"]), *overrides)))
    there = [] if device == "cpu" else [f"trainer.device={device}"]
    return [replace(shape, overrides=(*there, *shape.overrides)) for shape in chosen]


class RandomImages(Source):
    """Classification tasks of images [channels, height, width] of random numbers in [0, 1), float32."""

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        self.name, self.kind, self.fingerprint = "random images", "classification", "0" * 64
        self.input_shape, self.output_size = input_shape, None
        self.preprocessing, self.facts = {}, {}

    def problems(self, split: Split, shape: TaskShape) -> list[str]:
        """Always empty: there are as many as one likes."""
        return []

    def episodes(self, split: Split, shape: TaskShape, numbers: IntArray, key: int) -> Sequence[EpisodeArrays]:
        """One group; the classes of a task in order, as there is nothing to learn from it."""
        ways, shots = shape.largest(shape.ways), shape.largest(shape.shots)
        random = np.random.default_rng([int(bits(key, int(number))) for number in numbers])
        support, query = (
            random.random((len(numbers), ways * each, *self.input_shape), dtype=np.float32)
            for each in (shots, shape.queries)
        )
        labels = (np.tile(np.repeat(np.arange(ways), each), (len(numbers), 1)) for each in (shots, shape.queries))
        support_y, query_y = labels
        return [EpisodeArrays(np.asarray(numbers, dtype=np.int64), ways, support, support_y, query, query_y)]
