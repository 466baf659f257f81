"""Distillation class by class, from a source whose inputs are of another kind: pictures of digits to spoken ones.

Gupta, Hoffman & Malik (2016), Cross Modal Distillation for Supervision Transfer, CVPR, has pairs of both kinds; without
pairs what can be carried are the source's mean softened outputs for each class: T^2 KL(mean_c || softmax(z_S / T)) for
an example of class c (Hinton, Vinyals & Dean 2015, section 2, with classes' means for examples).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from metamtl.data.family import Classification, Family
from metamtl.engine.network import Network
from metamtl.engine.terms import Term, View
from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.transfer.base import Origin, Score, Strategy, Trained
from metamtl.transfer.knowledge import Knowledge
from metamtl.transfer.teacher import refuse_without_classes


class ClassMeans(Term):
    """The divergence from the mean outputs of an example's class; those without a label take no part."""

    needs_minibatches = True

    def __init__(self, weight: float, temperature: float, classes: int) -> None:
        super().__init__(weight, "outer")
        self.temperature = temperature
        self.register_buffer("means", torch.zeros(classes, classes), persistent=False)

    def hold(self, means: Tensor) -> None:
        """Takes the means [classes, classes]; UsageError where the source has other classes."""
        own = self.get_buffer("means")
        if means.shape != own.shape:
            raise UsageError(
                f"transfer=class_kd carries outputs class by class: the source has {len(means)} classes and the target "
                f"{len(own)}: take a source with the same classes."
            )
        own.copy_(means)

    def value(self, view: View) -> Tensor:
        """The penalty []."""
        labels = view.examples.labels
        known = (labels >= 0).to(view.outputs.dtype)
        wanted = self.get_buffer("means")[labels.clamp(min=0)]
        own = F.log_softmax(view.outputs / self.temperature, dim=1)
        apart = F.kl_div(own, wanted, reduction="none").sum(1)
        return self.temperature**2 * (apart * known).sum() / known.sum().clamp(min=1)


@register("transfer", "class_kd")
class ClassKD(Strategy):
    """The learner begins where it would without a source; `examples` of the source make the means."""

    def __init__(self, *, weight: float, temperature: float, examples: int) -> None:
        self.weight, self.temperature, self.examples = weight, temperature, examples

    def extract(self, origins: Sequence[Origin], score: Score) -> Knowledge:
        """The mean softened outputs of each class."""
        (origin,) = origins
        return Knowledge(embeddings={"class_kd": class_means(origin.trained(), self.examples, self.temperature)})

    def terms(self, network: Network, family: Family) -> list[Term]:
        """One, unless its weight is zero; UsageError where outputs are of no classes."""
        if not self.weight:
            return []
        refuse_without_classes("class_kd", family)
        return [ClassMeans(self.weight, self.temperature, family.outputs)]

    def remember(self, network: Network, terms: Sequence[Term], knowledge: Knowledge) -> None:
        """The means."""
        for term in terms:
            assert isinstance(term, ClassMeans)
            term.hold(knowledge.embeddings["class_kd"])


def class_means(trained: Trained, count: int, temperature: float) -> Tensor:
    """The mean softened outputs [classes, classes] of a source's examples of each class; even where it has none."""
    if trained.network.head is None or not isinstance(trained.family, Classification):
        raise UsageError("transfer=class_kd needs a source with fixed classes: train it with joint.")
    examples = trained.draw(count)
    with torch.no_grad():
        outputs = (trained.network.query(examples.x) / temperature).softmax(1)
    classes = outputs.shape[1]
    sums, counts = outputs.new_zeros(classes, classes), outputs.new_zeros(classes, 1)
    known = examples.labels >= 0
    sums.index_add_(0, examples.labels[known], outputs[known])
    counts.index_add_(0, examples.labels[known], outputs.new_ones(int(known.sum()), 1))
    return torch.where(counts > 0, sums / counts.clamp(min=1), torch.full_like(sums, 1 / classes))
