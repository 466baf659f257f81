"""Weighting: how the losses or gradients of several families become one update."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from torch import Tensor, nn

from metamtl.data.random import bits


@dataclass(frozen=True)
class Combined:
    """One update from F families.

    `shared` [P] is the gradient of the weights that families share; `factors` [F] multiply the gradients of the
    weights that a family has alone; `own` are gradients of the weighting's own parameters, by name. `weights` [F], for
    the record, are what the shared gradients were multiplied by where that is something else than `factors`.
    """

    shared: Tensor
    factors: Tensor
    own: dict[str, Tensor] = field(default_factory=dict)
    weights: Tensor | None = None

    @property
    def shares(self) -> Tensor:
        """What each family weighs [F] in the shared gradient."""
        return self.factors if self.weights is None else self.weights


class Probe(Protocol):
    """What the families say elsewhere: at other shared weights, or on the tasks or examples of another step."""

    def __call__(self, change: Tensor, step: int, only: int | None = None) -> tuple[Tensor, Tensor]:
        """Gradients [F, P] and losses [F] of `step` where the shared weights are moved by `change` [P].

        With `only`, those of that family alone, [1, P] and [1].
        """


class Weighting(nn.Module, ABC):
    """Base of all weightings; `families` maps the names, in the order of the rows that `combine` sees, to their kinds.

    What it learns through the run's optimiser are its parameters, at `pace` times the run's learning rate; whatever
    else it remembers are its buffers: a checkpoint holds both. `needs_all` says that every update must be made of all
    families, `needs_two` that of one family it is that of equal weights. The run sets `seed`, `probe` and
    `present`: the places of an update's families among all, None for all.
    """

    needs_all: ClassVar[bool] = False
    needs_two: ClassVar[bool] = False
    seed: int = 0
    pace: float = 1.0
    probe: Probe
    present: Sequence[int] | None = None

    def __init__(self, families: Mapping[str, str]) -> None:
        super().__init__()
        self.families = tuple(families)

    @abstractmethod
    def combine(self, gradients: Tensor, losses: Tensor, step: int) -> Combined:
        """The update from the gradients [F, P] of the shared weights and the losses [F], all of one step and finite.

        Anything random is drawn from `step` and the seed, so that a resumed run goes on as an unbroken one does.
        """

    def random_seed(self, step: int) -> int:
        """The seed of what is random at a step."""
        return int(bits(self.seed, step) >> 1)


def by_loss_weights(weights: Tensor, gradients: Tensor, own: dict[str, Tensor] | None = None) -> Combined:
    """The update of the weighted sum of the losses with weights [F]."""
    return Combined(weights @ gradients, weights, own or {})
