"""Which families an update is made of, where it does not take all: drawn by their sizes, as a function of the step.

A family of n training examples has a chance in proportion to n, to 1, or to n^(1 / temperature) (Arivazhagan et al.
2019, Massively Multilingual Neural Machine Translation in the Wild, section 4). Without replacement, by the keys of
Efraimidis & Spirakis (2006), Weighted random sampling with a reservoir, Information Processing Letters 97.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from metamtl.data.classes import ClassSource
from metamtl.data.examples import ExampleSource
from metamtl.data.random import key_of, uniform
from metamtl.data.source import Source
from metamtl.errors import UsageError


class Mixing:
    """`take` families an update, with the `shares` [F] of a draw."""

    def __init__(self, shares: Mapping[str, float], take: int, seed: int) -> None:
        self.names, self.take = list(shares), take
        self.shares, self.key = np.array(list(shares.values())), key_of("mixing", seed)

    def drawn(self, step: int) -> list[str]:
        """The families of an update, in their own order."""
        waits = -np.log1p(-uniform(self.key, step, np.arange(len(self.names)))) / self.shares
        return [self.names[at] for at in np.sort(np.argsort(waits, kind="stable")[: self.take])]


def mixing_of(options: Mapping[str, Any], sources: Mapping[str, Source], seed: int) -> Mixing:
    """The mixing that the section `mixing` asks for; UsageError where the families cannot be mixed so."""
    take: int = options["take"] or len(sources)
    if take > len(sources):
        raise UsageError(f"mixing.take={take}: there are {len(sources)} families.")
    if options["rule"] == "equal" or take == len(sources):
        return Mixing(dict.fromkeys(sources, 1.0), take, seed)
    temperature = options["temperature"] if options["rule"] == "temperature" else 1.0
    return Mixing({name: _size(name, source) ** (1 / temperature) for name, source in sources.items()}, take, seed)


def _size(name: str, source: Source) -> int:
    if not isinstance(source, ClassSource | ExampleSource):
        raise UsageError(
            f"families.{name}: {source.name} makes tasks and has no size to draw by: take mixing.rule=equal."
        )
    return len(source.items("train"))
