"""Predictors: a learner that has adapted to a user's examples, and what it says of others."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from metamtl.deploy.adapted import Adapted
from metamtl.deploy.calibration import Threshold
from metamtl.deploy.pictures import ArrayReader, PictureReader, Pictures, Read

L = TypeVar("L", bound=Hashable)


@dataclass(frozen=True)
class Predictions(Generic[L]):
    """What a predictor says of N examples.

    `labels` [N] are the best classes; `probabilities` float64 [N, ways] add up to one, in the order of `classes`;
    `unknown` [N] flags examples whose `scores` [N] (the highest output before the softmax) are below the predictor's
    threshold; `inverted` [N] flags pictures that were turned from dark on light to light on dark, or back.
    """

    classes: list[L]
    labels: list[L]
    probabilities: NDArray[np.float64]
    unknown: NDArray[np.bool_]
    scores: NDArray[np.float64]
    inverted: NDArray[np.bool_]


@dataclass(frozen=True)
class Predictor(Generic[L]):
    """A classifier of the support's classes, made by `Model.adapt`. It may be used by one thread at a time."""

    adapted: Adapted
    classes: list[L]
    reader: PictureReader | ArrayReader
    threshold: Threshold

    def predict(self, z: Pictures) -> Predictions[L]:
        """Classes of examples z, given as `Model.adapt` takes x; raises what it raises."""
        return self.classify(self.reader.read(z))

    def classify(self, read: Read) -> Predictions[L]:
        """As `predict`, of examples that its reader has read."""
        outputs = self.adapted.outputs(read.x)
        scores = outputs.max(1).values.numpy()
        return Predictions(
            classes=list(self.classes),
            labels=[self.classes[best] for best in outputs.argmax(1).tolist()],
            probabilities=outputs.softmax(1).numpy(),
            unknown=scores < self.threshold.value,
            scores=scores,
            inverted=read.inverted,
        )

    def save(self, path: str | Path) -> None:
        """Writes the predictor as plain tensors, numbers and texts; `metamtl.load_predictor` reads it.

        Raises UsageError for class names that are neither, MetamtlError where the disk refuses; a file that was at
        `path` is then as it was.
        """
        from metamtl.deploy.record import save

        save(self, Path(path))

    def export(self, folder: str | Path) -> None:
        """Writes the predictor as programs that need no metamtl, with a model card; see `metamtl.deploy.export`."""
        from metamtl.deploy.export import export

        export(self.adapted, Path(folder), self)


@dataclass(frozen=True)
class Regressor:
    """A function fitted to a few points, made by `Model.regress`. It may be used by one thread at a time."""

    adapted: Adapted
    reader: ArrayReader

    def predict(self, z: NDArray[Any]) -> NDArray[np.float64]:
        """Values [N, targets] at inputs z, given as `Model.regress` takes x; raises what it raises."""
        return np.asarray(self.adapted.outputs(self.reader.read(z).x).numpy())

    def export(self, folder: str | Path) -> None:
        """Writes the function as programs that need no metamtl, with a model card; see `metamtl.deploy.export`."""
        from metamtl.deploy.export import export

        export(self.adapted, Path(folder), None)
