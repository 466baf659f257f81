"""Transfer while training: learning rates of parts of the network, and changes of the update."""

from __future__ import annotations

from typing import Any

from torch import nn

from metamtl.engine.inner import Weights
from metamtl.families import Families

BACKBONE = "network.backbone."


class Application:
    """What the strategies of a run do to its updates, whatever they are."""

    def __init__(self, families: Families) -> None:
        self.transfer = families.first.transfer
        self.module: nn.Module = families.module

    def groups(self) -> list[dict[str, Any]]:
        """The optimiser's parameter groups: one, or where a strategy is at work the backbone and the rest."""
        weights = [(name, weight) for name, weight in self.module.named_parameters() if weight.requires_grad]
        if not self.transfer.strategies:
            return [{"params": [weight for _, weight in weights]}]  # torch takes no bare list that is empty
        return [
            {"params": [weight for name, weight in weights if (BACKBONE in name) == (part == "backbone")], "part": part}
            for part in ("rest", "backbone")
        ]

    def rate(self, part: str, step: int) -> float:
        """The factor on the learning rate of a group."""
        return self.transfer.rate(part, step)

    def changed(self, gradient: Weights, step: int) -> Weights:
        """The update's gradient without the weights that are frozen at this step, so that an optimiser forgets them."""
        if not self.transfer.strategies or self.rate("backbone", step) > 0:
            return gradient
        return {name: slope for name, slope in gradient.items() if BACKBONE not in name}
