"""The strategies of a run together: one section of the config, one record of knowledge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from torch import nn

from metamtl.data.family import Family
from metamtl.data.task import Examples
from metamtl.engine.inner import Weights
from metamtl.engine.network import Network
from metamtl.engine.terms import Term
from metamtl.errors import UsageError
from metamtl.registry import build
from metamtl.transfer.base import Origin, Score, Strategy
from metamtl.transfer.knowledge import Knowledge


class Transfer:
    """Strategies by name, and the sources (paths) that they learn from."""

    def __init__(self, strategies: Mapping[str, Strategy], sources: Sequence[str]) -> None:
        self.strategies, self.sources = strategies, list(sources)
        self._refuse_clashes()
        self._refuse_sources()

    def extract(self, origins: Sequence[Origin], score: Score) -> Knowledge:
        """K of every strategy in one record; of a run without a source, the strategies' names alone."""
        if not origins:
            return Knowledge(provenance={"strategies": list(self.strategies), "run": "", "sources": []})
        knowledge = Knowledge()
        for strategy in self.strategies.values():
            knowledge = knowledge.joined(strategy.extract(origins, score))
        knowledge.provenance = {
            "strategies": list(self.strategies),
            "run": ", ".join(str(origin.provenance["run"]) for origin in origins),
            "sources": [origin.provenance for origin in origins],
            **knowledge.provenance,
        }
        return knowledge

    @property
    def reshaping(self) -> list[str]:
        """The strategies that change the target's layers."""
        return [name for name, strategy in self.strategies.items() if type(strategy).reshape is not Strategy.reshape]

    def reshape(self, backbone: nn.Module) -> None:
        """Changes the target's layers."""
        for strategy in self.strategies.values():
            strategy.reshape(backbone)

    @property
    def conditioning(self) -> list[str]:
        """The strategies that condition the target's network on its task."""
        return [
            name for name, strategy in self.strategies.items() if type(strategy).condition is not Strategy.condition
        ]

    def condition(self, network: Network, family: Family, input_shape: tuple[int, ...], labelled: bool) -> None:
        """Conditions the target's network on its task."""
        for strategy in self.strategies.values():
            strategy.condition(network, family, input_shape, labelled)

    def meet(self, network: Network, draw: Callable[[int], Examples]) -> None:
        """Shows the strategies the target's training examples."""
        for strategy in self.strategies.values():
            strategy.meet(network, draw)

    def terms(self, network: Network, family: Family) -> dict[str, Term]:
        """The penalties by the names they are logged under."""
        return {
            name if number == 0 else f"{name}{number + 1}": term
            for name, strategy in self.strategies.items()
            for number, term in enumerate(strategy.terms(network, family))
        }

    def check(self, input_shape: tuple[int, ...]) -> None:
        """UsageError where a strategy names numbers of an input that the target's examples have not."""
        for strategy in self.strategies.values():
            strategy.check(input_shape)

    def start(self, network: Network, knowledge: Knowledge) -> None:
        """G: the target's initial weights."""
        for strategy in self.strategies.values():
            strategy.start(network, knowledge)

    def remember(self, network: Network, terms: Mapping[str, nn.Module], knowledge: Knowledge) -> None:
        """Gives every strategy's terms what they compare with."""
        for name, strategy in self.strategies.items():
            own = [term for key, term in terms.items() if key.rstrip("0123456789") == name]
            strategy.remember(network, [term for term in own if isinstance(term, Term)], knowledge)

    def rate(self, part: str, step: int) -> float:
        """The factor on the outer learning rate of a part of the network."""
        return prod(strategy.rate(part, step) for strategy in self.strategies.values())

    def changed(self, gradient: Weights, network: Network, family: Family) -> Weights:
        """The update's gradient of the network's weights as it is to be taken."""
        for strategy in self.strategies.values():
            gradient = strategy.changed(gradient, network, family)
        return gradient

    def _refuse_clashes(self) -> None:
        settled: dict[str, str] = {}
        for name, strategy in self.strategies.items():
            what = strategy.exclusive
            if what is not None and what in settled:
                raise UsageError(f"transfer=[{settled[what]},{name}]: both settle {what}: take one of them.")
            if what is not None:
                settled[what] = name

    def _refuse_sources(self) -> None:
        for name, strategy in self.strategies.items():
            if strategy.sources not in ("none", "optional") and not self.sources:
                raise UsageError(
                    f"transfer={name} needs a source: transfer.source=outputs/RUN, a run that has been trained."
                )
            if strategy.sources in ("one", "optional") and len(self.sources) > 1:
                raise UsageError(f"transfer={name} takes one source, not {len(self.sources)}: name one of them.")


def build_transfer(section: Mapping[str, Any] | None) -> Transfer:
    """The strategies of the config section `transfer`; UsageError where they do not go together."""
    section = section or {}
    named = {name: options for name, options in section.items() if isinstance(options, Mapping)}
    source = section.get("source") or []
    return Transfer(
        {name: build("transfer", options) for name, options in named.items()},
        [source] if isinstance(source, str) else source,
    )
