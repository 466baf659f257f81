"""Distillation of outputs: the learner's softened outputs are drawn to the teacher's.

Hinton, Vinyals & Dean (2015), Distilling the Knowledge in a Neural Network, section 2: T^2 KL(softmax(z_T / T) ||
softmax(z_S / T)), the mean over examples, added to the labels' loss.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from metamtl.data.family import Family
from metamtl.data.task import Tensors
from metamtl.engine.network import Network
from metamtl.engine.terms import Term, View
from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.transfer.teacher import Taught, TaughtTerm, refuse_without_classes


class Outputs(TaughtTerm):
    """The divergence from the teacher's outputs, both softened."""

    needs_minibatches = True

    def __init__(self, weight: float, temperature: float) -> None:
        super().__init__(weight)
        self.temperature = temperature

    def taught(self, x: Tensors) -> Tensor:
        """The teacher's outputs [N, C]."""
        return self.teacher.query(x)

    def value(self, view: View) -> Tensor:
        """The penalty []."""
        taught = self.taught(view.examples.x)
        student, teacher = (F.log_softmax(logits / self.temperature, dim=1) for logits in (view.outputs, taught))
        return self.temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


@register("transfer", "kd")
class KD(Taught):
    """`weight` counts beside a labels' loss of weight one: 9 is the usual 0.1 and 0.9, at ten times the rate."""

    called: ClassVar[str] = "kd"

    def __init__(self, *, weight: float, temperature: float) -> None:
        super().__init__(weight=weight)
        self.temperature = temperature

    def terms(self, network: Network, family: Family) -> list[Term]:
        """One, unless its weight is zero; UsageError where outputs are of no classes."""
        if self.weight:
            refuse_without_classes(self.called, family)
        return super().terms(network, family)

    def term(self) -> Outputs:
        """The divergence."""
        return Outputs(self.weight, self.temperature)

    def refuse_unlike(self, network: Network, teacher: Network) -> None:
        """Both must answer the same question."""
        own, theirs = (head.out_features if isinstance(head, nn.Linear) else 0 for head in (network.head, teacher.head))
        if own != theirs or own == 0:
            raise UsageError(
                f"transfer=kd compares outputs: the source has {theirs} and the target {own}: take a source with the "
                "same classes, or compare features (transfer=rkd, attention, fitnet)."
            )
