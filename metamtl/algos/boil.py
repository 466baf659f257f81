"""BOIL: Body Only update in Inner Loop, MAML whose inner steps change all but the head.

Oh, Yoo, Kim & Yun (2021), BOIL: Towards Representation Change for Few-shot Learning, ICLR, section 3.1: the rate of
the head is zero, so that a task can be learnt by changing the representation alone.
"""

from __future__ import annotations

from typing import Any

from metamtl.algos.maml import MAML
from metamtl.registry import register


@register("algo", "boil")
class BOIL(MAML):
    """Gradient descent on the body under a head that no task changes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(adapt="body", **options)
