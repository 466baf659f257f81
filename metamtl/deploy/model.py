"""`metamtl.load(run).adapt(x, y).predict(z)`: a finished run on a user's own examples."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from metamtl.algos.embedding import EmbeddingLearner
from metamtl.build import Parts
from metamtl.deploy.adapted import Adapted, build_for_use, in_use, support_of, with_statistics
from metamtl.deploy.calibration import Threshold, calibrate
from metamtl.deploy.origin import inputs_of, notes_of, open_trained, origin_of, settings_of
from metamtl.deploy.pictures import ArrayReader, Invert, Pictures, reader_of
from metamtl.deploy.predictor import Predictor, Regressor
from metamtl.errors import UsageError
from metamtl.runs.files import sha256_of
from metamtl.trainer import checkpoint

L = TypeVar("L", bound=Hashable)


def load(run: str | Path, device: Literal["auto", "cpu", "cuda", "mps"] = "auto") -> Model:
    """The model of a finished run with its best weights, in float32.

    `run` is its folder. Its data is not needed, unless the run was stopped before its test. Test-time options that
    `eval.choose` decided on validation are those of the run's own test. Raises MetamtlError where
    `run` is no run, has no weights yet or damaged ones, UsageError where the device is not available.
    """
    folder = open_trained(Path(run).expanduser())
    inputs = inputs_of(folder)
    parts = build_for_use(settings_of(folder), inputs, device)
    notes = [*notes_of(folder), *checkpoint.load_best(folder, parts.learner)]
    return Model(parts, inputs, origin_of(folder), notes)


class Model:
    """What a run has learnt, to be adapted any number of times; each adaptation leaves it as it was.

    `notes` are sentences about damaged checkpoints that were passed over, and about choices not made yet.
    """

    def __init__(self, parts: Parts, inputs: dict[str, Any], origin: dict[str, Any], notes: Sequence[str]) -> None:
        self.parts, self.inputs, self.origin, self.notes = parts, inputs, origin, list(notes)

    def adapt(
        self,
        x: Pictures,
        y: Sequence[L],
        *,
        threshold: float | Literal["auto", "off"] = "auto",
        invert: Invert = "auto",
        transductive: bool = False,
    ) -> Predictor[L]:
        """A classifier of the classes in `y` from a few examples of each.

        `x`: pictures as an array or tensor [N, H, W] or [N, C, H, W] of bytes or of floats in [0, 1], or as a list of
        paths or Pillow images, of any size; for runs on other data an array [N, *shape] of floats. `y`: N labels of any
        hashable kind. `threshold`: the score below which an example is unknown; `auto` calibrates it on the support
        (`metamtl.deploy.calibration`), `off` flags none. `invert`: whether pictures are inverted; `auto` inverts those
        whose background is not that of the run's data. `transductive`: whether batch normalisation takes its statistics
        from the examples that are predicted together, as many papers test, instead of from the support set.

        Raises UsageError where x and y do not fit together or the run (one class, more ways than its head),
        MetamtlError that names every picture that cannot be read.
        """
        self._expect("classification", "adapt(x, labels)", "regress(x, values)")
        classes, labels = _numbered(y)
        self._refuse_ways(len(classes))
        reader = reader_of(self.inputs, invert)
        stored = reader.read(x).x
        _refuse_unequal(len(stored), len(labels))
        parts = with_statistics(self.parts, transductive)
        support = support_of(parts, stored, labels, len(classes))
        with in_use(parts, support):
            origin = {
                **self.origin,
                "support": _summary(stored, [labels.tolist().count(n) for n in range(len(classes))]),
            }
            adapted = Adapted(parts, parts.learner.adapt(support), len(classes), self.inputs, origin)
            limit = _threshold(threshold) or calibrate(parts.learner, support)
        return Predictor(adapted, classes, reader, limit)

    def regress(self, x: NDArray[Any], y: NDArray[Any]) -> Regressor:
        """A function through points x [N, *shape] and y [N, targets] (or [N] where a point is one number).

        Raises UsageError where the shapes do not fit together or the run.
        """
        self._expect("regression", "regress(x, values)", "adapt(x, labels)")
        reader = ArrayReader(tuple(self.inputs["shape"]))
        stored, values = reader.read(x).x, ArrayReader((int(self.inputs["output_size"] or 1),)).read(y).x
        _refuse_unequal(len(stored), len(values))
        parts = with_statistics(self.parts, transductive=False)
        support = support_of(parts, stored, values, None)
        with in_use(parts, support):
            state = parts.learner.adapt(support)
        origin = {**self.origin, "support": _summary(stored, None)}
        return Regressor(Adapted(parts, state, None, self.inputs, origin), reader)

    def _expect(self, kind: str, call: str, other: str) -> None:
        found = self.inputs["kind"]
        if self.inputs.get("labelled", False):
            raise UsageError("This run learnt fixed labels and no few-shot tasks, so it cannot be adapted to others.")
        if found != kind:
            use = f": use {other}" if found in ("classification", "regression") else ", which cannot be adapted here"
            raise UsageError(f"{call} is for {kind}; this run learnt {found}{use}.")

    def _refuse_ways(self, ways: int) -> None:
        if ways < 2:
            raise UsageError("The support has one class: give examples of at least two.")
        most = self.parts.family.outputs
        has_head = bool(self.parts.learner.stages) and not isinstance(self.parts.learner, EmbeddingLearner)
        if has_head and ways > most:
            raise UsageError(
                f"algo={self.parts.config['algo']['name']} has learnt a head for {most} ways, and the support has "
                f"{ways} classes: leave some out, or train with task.ways={ways}."
            )


def _numbered(y: Any) -> tuple[list[Any], NDArray[np.int64]]:
    """The classes in order of first appearance, and the number of each label's."""
    labels = y.tolist() if hasattr(y, "tolist") else list(y)
    try:
        place = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    except TypeError as error:
        raise UsageError(f"The labels must be hashable ({error}): numbers, texts or tuples of them.") from error
    return list(place), np.array([place[label] for label in labels], dtype=np.int64)


def _refuse_unequal(examples: int, labels: int) -> None:
    if examples != labels:
        raise UsageError(f"There are {examples} examples and {labels} labels or values: give one for each.")


def _summary(stored: NDArray[Any], per_class: list[int] | None) -> dict[str, Any]:
    """What a predictor's record says of its support set."""
    return {
        "examples": len(stored),
        "per_class": per_class,
        "sha256": sha256_of(np.ascontiguousarray(stored).tobytes()),
    }


def _threshold(asked: float | Literal["auto", "off"]) -> Threshold | None:
    """None where it is to be calibrated."""
    if asked == "auto":
        return None
    if asked == "off":
        return Threshold(-np.inf, "off: no example is flagged")
    if isinstance(asked, bool | str) or not np.isfinite(asked):
        raise UsageError(f"threshold={asked}: it is auto, off or a number.")
    return Threshold(float(asked), "as given")
