"""Families that label the words of a sentence: with a class each, or with the entities that they belong to.

Labels [N, L] are -1 where a word has none to give: at padding, and at the later pieces of a word. Figures are those of
the whole split, over all its words or entities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.data.entities import right_found_there
from metamtl.data.family import Family, Ratio, mean_of_known
from metamtl.data.task import Examples, at_least_single
from metamtl.errors import UsageError


class Tagging(Family):
    """Cross-entropy and accuracy over words; `tags` are the classes."""

    metric = "accuracy"
    higher_is_better = True

    def __init__(self, name: str, tags: Sequence[str]) -> None:
        super().__init__(name, len(tags))
        self.tags = tuple(tags)
        self.ratios: Mapping[str, Sequence[Ratio]] = {"accuracy": (Ratio({"hits": 1}, {"words": 1}),)}

    def read(self, backbone: nn.Module) -> None:
        """Asks for the features of words."""
        if not hasattr(backbone, "of_words"):
            raise UsageError(f"{self.name} labels words, of which this backbone knows nothing: take text or hf.")
        backbone.of_words = True  # type: ignore[assignment]

    def said(self, outputs: Tensor) -> Tensor:
        """The probabilities of the tags of each word."""
        return at_least_single(outputs).softmax(-1).to(outputs)

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        """Mean cross-entropy [] of outputs [N, L, tags] over the words that have a label."""
        labels, known = examples.labels.flatten(), examples.labels.flatten() >= 0
        each = F.cross_entropy(at_least_single(outputs).flatten(0, 1), labels.clamp(min=0), reduction="none")
        return mean_of_known(each, known)

    def metrics(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """`ratios` of these examples alone, nought where one has nothing to count."""
        counts = self.counts(outputs, examples)
        return {name: _mean(counts, each) for name, each in self.ratios.items() if "/" not in name}

    def counts(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """`words` that have a label, and `hits` among them."""
        labels = examples.labels
        number = at_least_single(outputs).dtype
        hits = (outputs.argmax(2) == labels).sum()  # -1 is never an argmax
        return {"hits": hits.to(number), "words": (labels >= 0).sum().to(number)}


class Entities(Tagging):
    """F1, precision and recall over entities, of all types together and of each as `f1/TYPE`.

    `tags` are O, B-a, I-a, B-b, I-b and so on, see `metamtl.data.entities`.
    """

    metric = "f1"

    def __init__(self, name: str, tags: Sequence[str]) -> None:
        super().__init__(name, tags)
        self.types = tuple(tag.removeprefix("B-") for tag in tags[1::2])
        every = _of_entities("", [f"/{one}" for one in self.types])
        single = [_of_entities(f"/{one}", [f"/{one}"]) for one in self.types]
        self.ratios = {**self.ratios, **every, **{key: each for figures in single for key, each in figures.items()}}

    def counts(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """Those of words; and of each type the entities that are right, found and there."""
        counts = super().counts(outputs, examples)
        of_entities = right_found_there(outputs.argmax(2), examples.labels, len(self.types))
        for kind, numbers in zip(("right", "found", "there"), of_entities, strict=True):
            of_type = numbers.to(counts["words"].dtype).unbind(0)
            counts |= {f"{kind}/{one}": number for one, number in zip(self.types, of_type, strict=True)}
        return counts


class EntityTasks(Tagging):
    """Words of few-shot tasks: 0, or from 1 the type of their entity; entities are runs of words of one type.

    Outputs beyond a task's ways, the 0 among them, do not take part. Figures are a task's own: F1, precision and recall
    over its query sentences' entities. A supervised stage has the meta-train types and the 0 as its `classes`.
    """

    metric = "f1"

    def __init__(self, name: str, ways: int, classes: int = 0) -> None:
        super().__init__(name, [str(label) for label in range(ways + 1)])
        self.classes = classes
        self.ratios = {**self.ratios, **_of_entities("", [""])}

    @property
    def ways(self) -> int:
        """All outputs but the 0."""
        return self.outputs - 1

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        """Mean cross-entropy [] of outputs [N, L, labels] over words."""
        return super().loss(outputs[..., : examples.ways], examples)

    def counts(self, outputs: Tensor, examples: Examples) -> dict[str, Tensor]:
        """Those of words; and the entities that are right, found and there."""
        outputs = outputs[..., : examples.ways]
        counts = super().counts(outputs, examples)
        # a type's label without a beginning is its I
        labels = torch.where(examples.labels < 0, -1, 2 * examples.labels)
        numbers = right_found_there(2 * outputs.argmax(2), labels, outputs.shape[2] - 1)
        named = zip(("right", "found", "there"), numbers, strict=True)
        return counts | {name: number.sum().to(counts["words"].dtype) for name, number in named}


def tagging(name: str, tags: Sequence[str]) -> Tagging:
    """The family of these tags: entities where the first is O, else classes of words."""
    return Entities(name, tags) if tags[0] == "O" else Tagging(name, tags)


def _of_entities(suffix: str, types: Sequence[str]) -> dict[str, Sequence[Ratio]]:
    """F1, precision and recall over the entities of some types."""
    right, found, there = ({f"{kind}{one}": 1.0 for one in types} for kind in ("right", "found", "there"))
    twice = {name: 2.0 for name in right}
    return {
        f"f1{suffix}": (Ratio(twice, {**found, **there}),),
        f"precision{suffix}": (Ratio(right, found),),
        f"recall{suffix}": (Ratio(right, there),),
    }


def _mean(counts: Mapping[str, Tensor], ratios: Sequence[Ratio]) -> Tensor:
    # nothing found has a precision of nought, and not of nothing by nothing
    each = [_sum(counts, ratio.over) / _sum(counts, ratio.under).clamp(min=1) for ratio in ratios]
    return sum(each[1:], each[0]) / len(each)


def _sum(counts: Mapping[str, Tensor], factors: Mapping[str, float]) -> Tensor:
    parts = [factor * counts[name] for name, factor in factors.items()]
    return sum(parts[1:], parts[0])
