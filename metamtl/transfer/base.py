"""Transfer: K extracts knowledge from a source, G applies it to a target.

A strategy says what of a source it needs, what it makes of the target before training, and what it does while the
target is trained: terms added to the losses, learning rates, changes of the update.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from metamtl.data.family import Family
from metamtl.data.task import Examples
from metamtl.engine.inner import Weights
from metamtl.engine.network import Network
from metamtl.engine.terms import Term
from metamtl.transfer.knowledge import Knowledge

Score = Callable[[Mapping[str, Tensor], bool], float]


@dataclass(frozen=True)
class Trained:
    """A source's network in its test phase, its family, and `draw(count)`: the same training examples each time.

    `supports(count)` are the support sets of its first training tasks, none of a source that has but one task.
    """

    network: Network
    family: Family
    input_shape: tuple[int, ...]
    draw: Callable[[int], Examples]
    supports: Callable[[int], Sequence[Examples]] = lambda count: ()


@dataclass(frozen=True)
class Origin:
    """One source: its network's `parameters` by name, what rebuilds that network, and where it comes from.

    `trained` opens its data and is called by those alone who need it; `before` is what the source itself was given, and
    `terms` is what its own strategies saved with its learner, as `si.updates`.
    """

    parameters: dict[str, Tensor]
    backbone: dict[str, Any]
    provenance: dict[str, Any]
    trained: Callable[[], Trained]
    before: Knowledge | None
    terms: dict[str, Tensor] = field(default_factory=dict)


class Strategy:
    """Base of all strategies; `exclusive` names what only one strategy of a run may settle."""

    exclusive: ClassVar[str | None] = None
    sources: ClassVar[str] = "one"  # none, optional (one or none), one or several

    def extract(self, origins: Sequence[Origin], score: Score) -> Knowledge:
        """K: by default the parameters of the source.

        `score` is the validation score of the target with some parameters put in, with their head or without; more is
        better.
        """
        return Knowledge(parameters=origins[0].parameters)

    def reshape(self, backbone: nn.Module) -> None:
        """Changes the target's layers, from the config alone: a model is built so wherever it is used."""

    def condition(self, network: Network, family: Family, input_shape: tuple[int, ...], labelled: bool) -> None:
        """Conditions the target's network on its task, from the config alone, after its weights are made.

        `labelled` says that it learns from ordinary labelled examples, which are one task.
        """

    def meet(self, network: Network, draw: Callable[[int], Examples]) -> None:
        """Sees training examples of a target that has but one task, once before the first update.

        `draw(count)` gives so many of them, the same each time.
        """

    def terms(self, network: Network, family: Family) -> list[Term]:
        """The penalties that it adds; none has weight zero."""
        return []

    def check(self, input_shape: tuple[int, ...]) -> None:
        """UsageError where it names numbers of an input that the target's examples have not."""

    def start(self, network: Network, knowledge: Knowledge) -> None:
        """G: the target's initial weights, once before the first update; UsageError where they do not fit."""

    def remember(self, network: Network, terms: Sequence[Term], knowledge: Knowledge) -> None:
        """Gives its terms what they compare with, at the start and whenever a run goes on.

        The knowledge is empty in a run without a source.
        """

    def rate(self, part: str, step: int) -> float:
        """The factor on the outer learning rate of a `part` (backbone or rest) at a step; 0 leaves it untouched."""
        return 1.0

    def changed(self, gradient: Weights, network: Network, family: Family) -> Weights:
        """The update's gradient of the network's weights, by their names, as it is to be taken."""
        return gradient
