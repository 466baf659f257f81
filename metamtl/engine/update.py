"""What a batch of tasks gives an update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from metamtl.backbones.norm import Statistics


@dataclass
class Update:
    """Sums over the tasks of a batch, so that chunks and processes add up.

    `figures` holds `loss` and the family's metrics, each [T].
    """

    gradient: dict[str, Tensor]
    figures: dict[str, Tensor]
    statistics: list[Statistics]
    tasks: int

    def map(self, change: Callable[[Tensor], Tensor]) -> Update:
        """This update with every tensor changed."""
        gradient = {name: change(g) for name, g in self.gradient.items()}
        figures = {name: change(values) for name, values in self.figures.items()}
        return Update(gradient, figures, [(change(mean), change(var)) for mean, var in self.statistics], self.tasks)
