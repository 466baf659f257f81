"""Fine-tuning: the target begins with the source's backbone, which learns slowly.

Yosinski, Clune, Bengio & Lipson (2014), How transferable are features in deep neural networks?, NeurIPS; the smaller
rate of what was carried is common practice (Li, Grandvalet & Davoine 2018, section 4, have a tenth).
"""

from __future__ import annotations

from metamtl.engine.network import Network
from metamtl.registry import register
from metamtl.transfer.base import Strategy
from metamtl.transfer.carry import carry
from metamtl.transfer.knowledge import Knowledge


@register("transfer", "finetune")
class FineTune(Strategy):
    """`backbone_rate` is the backbone's learning rate as a share of the run's; `head` carries the head too."""

    exclusive = "the learning rate of the backbone"

    def __init__(self, *, backbone_rate: float, head: bool) -> None:
        self.backbone_rate, self.head = backbone_rate, head

    def start(self, network: Network, knowledge: Knowledge) -> None:
        """The source's backbone."""
        carry(network, knowledge, self.head)

    def rate(self, part: str, step: int) -> float:
        """A share for the backbone."""
        return self.backbone_rate if part == "backbone" else 1.0
