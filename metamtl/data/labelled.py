"""Families of ordinary labelled examples, where a label may be missing, and the choice of a source's family.

A loss is the mean over the labels that are known, and zero where none is; a metric of an example whose label is
missing is NaN, which summaries leave out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.data.dense import dense_family
from metamtl.data.family import Classification, Family, Regression, mean_of_known
from metamtl.data.source import Source, TaskShape
from metamtl.data.tagging import EntityTasks, tagging
from metamtl.data.task import Examples, at_least_single
from metamtl.errors import UsageError

NEVER = -1e9  # an output that is never chosen, finite so that its slope is zero and not undefined


def figure_of_known(values: Tensor, known: Tensor) -> Tensor:
    """The mean [] of `values` where `known`, NaN where nothing is."""
    return values.masked_fill(~known, 0.0).sum() / known.sum()


class LabelledClasses(Classification):
    """Cross-entropy and accuracy over fixed classes; -1 is a missing label.

    `told` are groups of classes: of an example it is known of which group its class is, and no other can be the answer.
    """

    def __init__(self, name: str, outputs: int, told: Sequence[Sequence[int]] | None = None) -> None:
        super().__init__(name, outputs)
        self.told = told

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        """Mean cross-entropy of the examples whose class is known."""
        labels = examples.labels
        answers = self.answers(at_least_single(outputs), examples)
        each = F.cross_entropy(answers, labels.clamp(min=0), reduction="none")
        return mean_of_known(each, labels >= 0)

    def metrics(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """`accuracy` over the examples whose class is known."""
        answers = self.answers(outputs, examples)
        hits = (answers.argmax(1) == examples.labels).to(at_least_single(outputs).dtype)
        return {"accuracy": figure_of_known(hits, examples.labels >= 0)}

    def answers(self, outputs: Tensor, examples: Examples) -> Tensor:
        """Outputs [N, classes] in which no class outside an example's group can be the highest."""
        if self.told is None:
            return outputs
        group = torch.full((self.outputs,), -1, device=outputs.device)
        for number, classes in enumerate(self.told):
            group[list(classes)] = number
        outside = group != group[examples.labels.clamp(min=0)].unsqueeze(1)
        return outputs.masked_fill(outside, NEVER)


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


def family_of(source: Source, *shapes: TaskShape, told: Sequence[Sequence[int]] | None = None) -> Family:
    """The family of a source, with outputs enough for every task shape it will meet; `told` as LabelledClasses has it.

    UsageError where the source has other labels than fixed classes and `told` is given.
    """
    if told is not None:
        return _told(source, told)
    if source.kind == "tagging" and source.labelled:
        return tagging(source.name, source.output_names)
    if source.kind == "tagging":
        ways = max(TaskShape.largest(shape.ways) for shape in shapes)
        return EntityTasks(source.name, ways, classes=source.class_count("train"))
    if (dense := dense_family(source)) is not None:
        return dense
    if source.labelled:
        kinds = {"classification": LabelledClasses, "regression": LabelledNumbers}
        if source.kind not in kinds:
            raise UsageError(f"{source.name} asks for {source.kind}, which no family here predicts.")
        family: Family = kinds[source.kind](source.name, source.output_size or 1)
        return family
    if source.kind == "regression":
        return Regression(source.name, source.output_size or 1)
    ways = max(TaskShape.largest(shape.ways) for shape in shapes)
    return Classification(source.name, ways, classes=source.class_count("train"))


def _told(source: Source, told: Sequence[Sequence[int]]) -> Family:
    classes = [one for group in told for one in group]
    if not source.labelled or source.kind != "classification":
        raise UsageError(f"told: {source.name} has no fixed classes whose group could be known: leave told=null.")
    if len(set(classes)) != len(classes) or not set(classes) <= set(range(source.output_size or 1)):
        raise UsageError(f"told={told}: name each of the classes 0 to {(source.output_size or 1) - 1} at most once.")
    return LabelledClasses(source.name, source.output_size or 1, told)
