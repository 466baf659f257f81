"""A linear probe, then fine-tuning: the head is trained on a frozen backbone first, which then learns too.

Kumar, Raghunathan, Jones, Ma & Liang (2022), Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution, ICLR (LP-FT). Running averages of normalisation follow the target's data throughout.
"""

from __future__ import annotations

from metamtl.engine.network import Network
from metamtl.registry import register
from metamtl.transfer.base import Strategy
from metamtl.transfer.carry import carry
from metamtl.transfer.knowledge import Knowledge


@register("transfer", "linear_probe")
class LinearProbe(Strategy):
    """The backbone waits until step `unfreeze_at` (None: for ever), and then learns at a share of the run's rate."""

    exclusive = "the learning rate of the backbone"

    def __init__(self, *, unfreeze_at: int | None, backbone_rate: float) -> None:
        self.unfreeze_at, self.backbone_rate = unfreeze_at, backbone_rate

    def start(self, network: Network, knowledge: Knowledge) -> None:
        """The source's backbone."""
        carry(network, knowledge)

    def rate(self, part: str, step: int) -> float:
        """Nothing for the backbone at first."""
        if part != "backbone":
            return 1.0
        return 0.0 if self.unfreeze_at is None or step < self.unfreeze_at else self.backbone_rate
