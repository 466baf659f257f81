"""Families of ordinary labelled examples, where a label may be missing, and the choice of a source's family.

A loss is the mean over the labels that are known, and zero where none is; a metric of an example whose label is
missing is NaN, which summaries leave out.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from metamtl.data.family import Classification, Family, Regression
from metamtl.data.source import Source, TaskShape
from metamtl.data.task import Examples, at_least_single
from metamtl.errors import UsageError


def mean_of_known(values: Tensor, known: Tensor) -> Tensor:
    """The mean [] of `values` where `known`, zero where nothing is."""
    return (values.masked_fill(~known, 0.0)).sum() / known.sum().clamp(min=1)


def figure_of_known(values: Tensor, known: Tensor) -> Tensor:
    """The mean [] of `values` where `known`, NaN where nothing is."""
    return values.masked_fill(~known, 0.0).sum() / known.sum()


class LabelledClasses(Classification):
    """Cross-entropy and accuracy over fixed classes; -1 is a missing label."""

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        """Mean cross-entropy of the examples whose class is known."""
        labels = examples.labels
        each = F.cross_entropy(at_least_single(outputs), labels.clamp(min=0), reduction="none")
        return mean_of_known(each, labels >= 0)

    def metrics(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """`accuracy` over the examples whose class is known."""
        hits = (outputs.argmax(1) == examples.labels).to(at_least_single(outputs).dtype)
        return {"accuracy": figure_of_known(hits, examples.labels >= 0)}


class LabelledNumbers(Regression):
    """Squared error of numbers; NaN is a missing one."""

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        """Mean squared error over the numbers that are known."""
        known = ~examples.labels.isnan()
        each = (at_least_single(outputs) - examples.labels.nan_to_num()).square()
        return mean_of_known(each, known)

    def metrics(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """`mse` over the numbers that are known."""
        known = ~examples.labels.isnan()
        each = (at_least_single(outputs) - examples.labels.nan_to_num()).square()
        return {"mse": figure_of_known(each, known)}


def family_of(source: Source, *shapes: TaskShape) -> Family:
    """The family of a source, with outputs enough for every task shape it will meet."""
    if source.labelled:
        kinds = {"classification": LabelledClasses, "regression": LabelledNumbers}
        if source.kind not in kinds:
            raise UsageError(f"{source.name} asks for {source.kind}, which no family here predicts.")
        return kinds[source.kind](source.name, source.output_size or 1)
    if source.kind == "regression":
        return Regression(source.name, source.output_size or 1)
    ways = max(TaskShape.largest(shape.ways) for shape in shapes)
    return Classification(source.name, ways, classes=source.class_count("train"))
