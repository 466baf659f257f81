"""Named terms that knowledge from elsewhere adds to a learner's losses.

A term reads the weights that it is handed: in an inner loop the fast weights, whose path leads back to the meta-learned
ones. A term that read a module's own weights there would drop that path without a word.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from metamtl.data.task import Examples
from metamtl.engine.network import Network

Place = Literal["inner", "outer", "both"]


@dataclass(frozen=True)
class View:
    """What a term sees: the network under `weights` (all of them, by name), examples and their outputs [N, outputs].

    `weights` are fast weights in an inner loop and the learner's own in the outer loss; `progress` is the share of the
    stage's updates that are done.
    """

    network: Network
    weights: Mapping[str, Tensor]
    examples: Examples
    outputs: Tensor
    progress: float = 1.0


class Term(nn.Module, ABC):
    """A penalty with a weight, in the inner losses, the outer loss or both.

    What it compares with are buffers, which `remember` of its strategy fills; they are saved with the learner only
    where adapting to a new task needs them too.
    """

    needs_minibatches: ClassVar[bool] = False  # where outputs are those of fixed classes

    def __init__(self, weight: float, at: Place) -> None:
        super().__init__()
        self.weight, self.at = weight, at

    @abstractmethod
    def value(self, view: View) -> Tensor:
        """The penalty [] before its weight."""

    def compared(self, network: Network, x: Tensor) -> None:
        """What is held to compare with meets inputs x of `network`: what cannot be fails before the first update."""

    def is_at(self, place: Literal["inner", "outer"]) -> bool:
        """Whether it joins the losses of that place."""
        return self.at in (place, "both")


def inner_view(
    network: Network, fast: Mapping[str, Tensor], examples: Examples, outputs: Tensor, progress: float = 1.0
) -> View:
    """The view of an inner loss, whose fast weights may be some of all."""
    return View(network, {**dict(network.named_parameters()), **fast}, examples, outputs, progress)


def added(
    loss: Tensor, terms: Iterable[tuple[str, nn.Module]], place: Literal["inner", "outer"], view: View
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss with the terms of a place, and what each added; the loss itself where there is none."""
    parts: dict[str, Tensor] = {}
    for name, term in terms:
        assert isinstance(term, Term)
        if term.is_at(place):
            parts[name] = term.weight * term.value(view)
            loss = loss + parts[name]
    return loss, parts
