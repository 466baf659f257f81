"""Joint: ordinary supervised learning on labelled examples; with several families, classic multi-task learning.

Caruana (1997), Multitask Learning, Machine Learning 28: one network under one head for each family, trained on the
sum of their losses. Nothing is adapted to a support set.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from metamtl.algos.base import Learner, Stage
from metamtl.data.task import Examples, Tensors
from metamtl.registry import register


@register("algo", "joint")
class Joint(Learner):
    """The head of the family on the backbone's features."""

    stages: Sequence[Stage] = (Stage("joint", "minibatches"),)
    adapts = False

    def adapt(self, support: Examples) -> None:
        """Nothing."""

    def predict(self, state: None, x: Tensors) -> Tensor:
        """Outputs [N, ...] of examples x [N, ...]."""
        return self.network.query(x)

    def minibatch_loss(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """The family's loss and outputs."""
        outputs = self.network.query(examples.x)
        return self.family.loss(outputs, examples), outputs
