"""What a network needs to know of its data, as a record that the result keeps: a run is then built without its data.

Whether the pictures lie on a dark or a light background is measured on training examples: their preprocessing says how
files were treated, not what they showed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from metamtl.data.classes import ClassSource
from metamtl.data.source import EpisodeArrays, IntArray, Source, Split, TaskShape
from metamtl.errors import MetamtlError

Background = Literal["dark", "light", "mixed"]

LOOKED_AT = 200  # training examples
ALIKE = 0.95  # the share of them that must have one background for the data to have it


class RecordedSource(Source):
    """A source as the record of its inputs has it: enough to build a network, with no task to give."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.name = record["name"]
        self.kind = record["kind"]
        self.fingerprint = record["fingerprint"]
        self.input_shape = tuple(record["shape"])
        self.output_size = record["output_size"]
        self.output_names = tuple(record.get("output_names", ()))
        self.labelled = bool(record.get("labelled", False))
        self.preprocessing = dict(record["preprocessing"])
        self.facts = {}
        self._classes = int(record["train_classes"])

    def class_count(self, split: Split) -> int:
        """Number of meta-train classes, turned ones included; of the other splits none is recorded."""
        return self._classes if split == "train" else 0

    def problems(self, split: Split, shape: TaskShape) -> list[str]:
        """Always one: there are no examples."""
        return [f"Of {self.name} only its description is here, and no examples to make tasks of."]

    def episodes(self, split: Split, shape: TaskShape, numbers: IntArray, key: int) -> Sequence[EpisodeArrays]:
        """Raises MetamtlError: there are no examples."""
        raise MetamtlError(*self.problems(split, shape))


def describe_inputs(source: Source) -> dict[str, Any]:
    """The record of a source's inputs, in plain values; `RecordedSource` reads it."""
    return {
        "name": source.name,
        "kind": source.kind,
        "fingerprint": source.fingerprint,
        "shape": list(source.input_shape),
        "output_size": source.output_size,
        "output_names": list(source.output_names),
        "labelled": source.labelled,
        "train_classes": source.class_count("train"),
        "preprocessing": dict(source.preprocessing),
        "background": _background(source),
    }


def light_background(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of grey pictures [N, 1, H, W] have a light background: their frame's median is in the upper half of levels.

    Levels are each picture's own, from its darkest to its lightest; one without contrast is judged by its level.
    """
    thick = max(1, min(pixels.shape[-2:]) // 28)
    framed = np.ones(pixels.shape[-2:], dtype=bool)
    framed[thick:-thick, thick:-thick] = False
    flat = pixels.reshape(len(pixels), -1).astype(np.float64)
    low, high = flat.min(1), flat.max(1)
    middle = np.where(high > low, (low + high) / 2, 127.5)
    frame = np.median(pixels[:, 0, framed], axis=1)
    return np.asarray(frame > middle)


def _background(source: Source) -> Background | None:
    """None where examples are no grey pictures: a photograph in colour has no polarity."""
    if not isinstance(source, ClassSource) or len(source.input_shape) != 3 or source.input_shape[0] != 1:
        return None
    items = source.items("train")
    chosen = items[np.linspace(0, len(items) - 1, min(len(items), LOOKED_AT)).astype(np.int64)]
    pixels = source.gather(chosen)
    if pixels.dtype != np.uint8:
        return None
    light = float(light_background(pixels).mean())
    return "light" if light >= ALIKE else "dark" if light <= 1 - ALIKE else "mixed"
