"""Synaptic intelligence: a weight matters as much as its path through training lowered the loss.

Zenke, Poole & Ganguli (2017), Continual Learning Through Synaptic Intelligence, ICML, equations 3 to 5: omega is the
sum of -g delta over updates, Omega adds omega / (Delta^2 + xi) over a sequence, and c sum Omega (theta - theta*)^2 is
the penalty. Gradients are the loss's without the penalty; an omega below zero counts as none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from metamtl.data.family import Family
from metamtl.engine.inner import Weights
from metamtl.engine.network import Network
from metamtl.engine.terms import Term, View
from metamtl.errors import UsageError
from metamtl.registry import register
from metamtl.transfer.base import Origin, Score, Strategy
from metamtl.transfer.carry import carry, fitting
from metamtl.transfer.knowledge import Knowledge
from metamtl.transfer.references import References

_PATH = ("path", "first", "latest", "slope")  # what the next run of a chain reads


class Path(Term):
    """The penalty, and the path of this run's own training, which is saved with the learner."""

    def __init__(self, network: Network, weight: float) -> None:
        super().__init__(weight, "outer")
        weights = dict(network.named_parameters())
        self.old, self.importance = References(weights, kept=False), References(weights, kept=False)
        self.path, self.first, self.latest, self.slope = (References(weights, kept=True) for _ in _PATH)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def value(self, view: View) -> Tensor:
        """The penalty [] of equation 4 over c."""
        importance = self.importance.values()
        parts = [
            (importance[name] * (view.weights[name] - old).square()).sum() for name, old in self.old.values().items()
        ]
        return torch.stack(parts).sum()

    def walk(self, weights: Mapping[str, Tensor], gradient: Mapping[str, Tensor]) -> None:
        """Adds the way since the update before; `gradient` is that of the loss with the penalty, at `weights`."""
        if not self.get_buffer("updates"):
            self.first.put(weights)
        path, old, importance = self.path.values(), self.old.values(), self.importance.values()
        latest, slope = self.latest.values(), self.slope.values()
        for name in gradient:
            path[name] -= slope[name] * (weights[name] - latest[name])
            latest[name].copy_(weights[name])
            own = gradient[name] - 2 * self.weight * importance[name] * (weights[name] - old[name])
            slope[name].copy_(own.nan_to_num(0.0, 0.0, 0.0))  # of an update that is skipped, where no weight moves
        self.get_buffer("updates").add_(1)


@register("transfer", "si")
class SI(Strategy):
    """`weight` is c and `damping` xi; the first run of a chain has no source and walks its path."""

    exclusive = "the importance of weights"
    sources = "optional"

    def __init__(self, *, weight: float, damping: float) -> None:
        self.weight, self.damping = weight, damping
        self.term: Path | None = None

    def extract(self, origins: Sequence[Origin], score: Score) -> Knowledge:
        """The source's weights and their importance: that of its own path, and of those before it."""
        (origin,) = origins
        importance = dict(origin.before.importance) if origin.before is not None else {}
        path = along_path(origin, self.damping)
        if self.weight and not path:
            raise UsageError(
                f"transfer=si reads the path of its source's training, and {origin.provenance['run']} has kept none: "
                "train it with transfer=si, or take transfer=ewc."
            )
        for name, values in path.items():
            importance[name] = importance[name] + values if name in importance else values
        return Knowledge(parameters=origin.parameters, importance=importance)

    def terms(self, network: Network, family: Family) -> list[Term]:
        """One, unless its weight is zero."""
        return [Path(network, self.weight)] if self.weight else []

    def start(self, network: Network, knowledge: Knowledge) -> None:
        """The source's weights, the head with them."""
        carry(network, knowledge, head=True)

    def remember(self, network: Network, terms: Sequence[Term], knowledge: Knowledge) -> None:
        """The old weights and their importance; nothing in the first run of a chain."""
        for term in terms:
            assert isinstance(term, Path)
            self.term = term
            if knowledge.importance:
                old = term.old.values()
                term.old.put({n: fitting(n, t, knowledge.parameters, knowledge.provenance) for n, t in old.items()})
                term.importance.put(knowledge.importance)

    def changed(self, gradient: Weights, network: Network, family: Family) -> Weights:
        """The gradient as it is; the path goes on."""
        if self.term is not None:
            with torch.no_grad():
                self.term.walk(dict(network.named_parameters()), gradient)
        return gradient


def along_path(origin: Origin, damping: float) -> dict[str, Tensor]:
    """omega / (Delta^2 + xi) of the source's own training, by the weights' names; empty where it walked none."""
    saved = {part: _saved(origin, part) for part in _PATH}
    found = {}
    for name, path in saved["path"].items():
        now = origin.parameters[name]
        whole = path - saved["slope"][name] * (now - saved["latest"][name])  # with the last update
        found[name] = whole.clamp(min=0) / ((now - saved["first"][name]).square() + damping)
    return found


def _saved(origin: Origin, part: str) -> dict[str, Tensor]:
    prefix = f"si.{part}."
    return {
        name.removeprefix(prefix).replace("/", "."): tensor
        for name, tensor in origin.terms.items()
        if name.startswith(prefix)
    }
