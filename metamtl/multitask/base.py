"""Weighting: how the losses or gradients of several families become one update."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True)
class Combined:
    """One update from F families.

    `shared` [P] is the gradient of the weights that families share; `factors` [F] multiply the gradients of the
    weights that a family has alone; `own` are gradients of the weighting's own parameters, by name.
    """

    shared: Tensor
    factors: Tensor
    own: dict[str, Tensor] = field(default_factory=dict)


class Weighting(nn.Module, ABC):
    """Base of all weightings; `families` are the names, in the order of the rows that `combine` sees.

    Whatever a weighting learns are its parameters, and whatever it remembers its buffers: a checkpoint holds both.
    """

    def __init__(self, families: Sequence[str]) -> None:
        super().__init__()
        self.families = tuple(families)

    @abstractmethod
    def combine(self, gradients: Tensor, losses: Tensor, step: int) -> Combined:
        """The update from the gradients [F, P] of the shared weights and the losses [F], all of one step.

        Anything random is drawn from `step` and the seed, so that a resumed run goes on as an unbroken one does.
        """


def by_loss_weights(weights: Tensor, gradients: Tensor, own: dict[str, Tensor] | None = None) -> Combined:
    """The update of the weighted sum of the losses with weights [F]."""
    return Combined(weights @ gradients, weights, own or {})
