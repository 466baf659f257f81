"""ANIL: Almost No Inner Loop, MAML whose inner steps change the head alone.

Raghu, Raghu, Bengio & Vinyals (2020), Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of
MAML, ICLR. The support set's features do not change between inner steps, so they are computed once.
"""

from __future__ import annotations

from typing import Any

from metamtl.algos.descent import Adapted
from metamtl.algos.maml import MAML
from metamtl.data.task import Examples
from metamtl.registry import register


@register("algo", "anil")
class ANIL(MAML):
    """Gradient descent on the head, over features computed once."""

    inner_terms = False  # its inner loss never sees the backbone's weights

    def __init__(self, **options: Any) -> None:
        super().__init__(adapt="head", **options)

    def adapt(self, support: Examples) -> Adapted:
        """The head's fast weights after the inner steps."""
        features = self.network.support(support.x, head=False)
        start = self.initial_weights(support, features)
        weights = self.descend(start, lambda fast: self.family.loss(self.network.classify(features, fast), support))
        return Adapted(weights, self.network.support_statistics(support.x))
