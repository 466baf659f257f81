"""First-order MAML: the meta-gradient is the query loss's gradient at the adapted weights.

Finn, Abbeel & Levine (2017), section 5.2; Nichol, Achiam & Schulman (2018), On First-Order Meta-Learning Algorithms.
No graph of the inner steps is built.
"""

from __future__ import annotations

from typing import Any

from metamtl.algos.maml import MAML
from metamtl.registry import register


@register("algo", "fomaml")
class FOMAML(MAML):
    """MAML whose inner gradients are constants."""

    def __init__(self, **options: Any) -> None:
        super().__init__(order="first", **options)
